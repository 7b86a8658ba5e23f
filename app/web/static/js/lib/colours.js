// Dark or light: the system decides until the button is pressed.

const system = matchMedia("(prefers-color-scheme: dark)");

/** Whether the page is drawn in dark colours now. */
export function isDark() {
  const chosen = document.documentElement.dataset.colours;
  return chosen ? chosen === "dark" : system.matches;
}

/** Have the button switch the colours, and tell `changed` whenever they have changed. */
export function switchColours(button, changed = () => {}) {
  const show = () => {
    button.setAttribute("aria-pressed", String(isDark()));
    changed();
  };
  button.addEventListener("click", () => {
    choose(isDark() ? "light" : "dark");
    show();
  });
  system.addEventListener("change", show);
  button.setAttribute("aria-pressed", String(isDark()));
}

function choose(colours) {
  document.documentElement.dataset.colours = colours;
  try {
    localStorage.setItem("fusebox.colours", colours);
  } catch {
    // Not kept, then.
  }
}
