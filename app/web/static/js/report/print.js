// Paper: what is drawn in sight only, or folded away, is drawn and unfolded for it.

const PAPER = matchMedia("print");

export const onPaper = () => PAPER.matches;

/** Tell `changed` when the page is about to be laid out for paper, and when it is back on the screen. */
export function whenPrinted(changed) {
  PAPER.addEventListener("change", changed);
}

/** Have what is folded in an element stand open on paper. */
export function unfoldOnPaper(element) {
  let opened = [];
  whenPrinted(() => {
    if (onPaper()) opened = [...element.querySelectorAll("details:not([open])")];
    for (const one of opened) one.open = onPaper();
  });
}
