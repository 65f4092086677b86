// Short texts that this browser keeps: the key, the theme, what was chosen last.
const PREFIX = "localai-flask:";

export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null; // switched off in this browser
  }
}

export function keep(name, text) {
  try {
    if (text === null || text === undefined || text === "") localStorage.removeItem(PREFIX + name);
    else localStorage.setItem(PREFIX + name, text);
  } catch {
    // switched off in this browser: it counts until the page is left
  }
}
