// The options of the form: which of them are changed, and those of an earlier job to begin with.

const FILES = new Set(["model", "probe"]);

/** The names of all fields that do not stand as they stood at first; the file itself is no option. */
export function changedOptions(form) {
  const changed = [...form.elements].filter((one) => one.name && one.name !== "model" && !isDefault(one));
  return new Set(changed.map((one) => one.name));
}

function isDefault(field) {
  if (field.type === "checkbox" || field.type === "radio") return field.checked === field.defaultChecked;
  if (field.type === "file") return field.files.length === 0;
  if (field.tagName === "SELECT") return field.selectedOptions[0].defaultSelected;
  return field.value.trim() === "";
}

/** Have the fields say what these options say, as a job names them; what they leave out stays. Files stay as well. */
export function setOptions(form, options) {
  for (const field of form.elements) {
    const value = options[field.name];
    if (FILES.has(field.name) || value === undefined) continue;
    if (field.type === "checkbox") field.checked = String(value) === "true";
    else if (field.type === "radio") field.checked = field.value === value;
    else field.value = value ?? "";
  }
}

/** Options as the end of an address, which stays in the browser; those that say nothing are left out. */
export function toFragment(options) {
  const said = Object.entries(options).filter(([, value]) => value !== null && value !== false && value !== "keep");
  return said.length ? `#${new URLSearchParams(said)}` : "";
}

/** The options that such an address brings; none of another one. */
export function fromFragment(fragment) {
  return Object.fromEntries([...new URLSearchParams(fragment.slice(1))].filter(([, value]) => value !== ""));
}
