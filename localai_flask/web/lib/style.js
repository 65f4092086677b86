// A view's own style, fetched when the view is first shown.
const asked = new Map();

/** Have a stylesheet of `style/` loaded; resolves when it holds, so that nothing is shown without it, or cannot be had. */
export function loadStyle(name) {
  if (!asked.has(name)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`../style/${name}.css`, import.meta.url).href;
    const settled = new Promise((resolve) => {
      link.addEventListener("load", resolve, { once: true });
      link.addEventListener("error", resolve, { once: true });
    });
    asked.set(name, settled);
    link.addEventListener("error", () => asked.delete(name));
    document.head.append(link);
  }
  return asked.get(name);
}
