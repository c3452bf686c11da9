// Runs before the first paint, so that the chosen theme does not flash in. Everything else is in app.js.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("certctl-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // Storage is switched off: the system's preference holds.
  }
})();
