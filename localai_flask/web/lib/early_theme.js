// Runs before the first paint, so that a chosen theme does not flash; lib/theme.js has the switch.
(() => {
  try {
    const theme = localStorage.getItem("localai-flask:theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // a browser that keeps nothing for pages: the system's preference counts
  }
})();
