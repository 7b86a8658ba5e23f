// Before anything is drawn: the colours that were chosen here, if any; else the system's.
try {
  const chosen = localStorage.getItem("fusebox.colours");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.colours = chosen;
} catch {
  // Storage may be switched off; then the system's colours serve.
}
