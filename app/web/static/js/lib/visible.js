// Texts that come from a file, with nothing in them that hides, breaks a line or changes the order of what is read.

// Controls, formats (among them those that turn the direction of writing), separators of lines, and what has no width.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

/** The same text; what would not be seen stands there by its number: "a\u202eb" -> "a⟨U+202E⟩b". */
export function visible(text) {
  return text.replace(UNSEEN, (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}
