// A menu below a button: arrows move, Escape and a click elsewhere close it.
import { h, icon } from "./dom.js";

/** Open a menu with `entries`, each `{label, icon, run, danger}`. */
export function openMenu(anchor, entries) {
  const items = entries.map((entry) =>
    h("button", { type: "button", role: "menuitem", class: entry.danger ? "danger" : "", on: { click: () => (close(), entry.run()) } }, icon(entry.icon), entry.label),
  );
  const menu = h("div", { class: "menu", role: "menu" }, items);
  const leaving = new AbortController();
  const close = () => {
    leaving.abort();
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    anchor.focus();
  };
  menu.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      items.at((items.indexOf(document.activeElement) + step) % items.length).focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  document.addEventListener("pointerdown", (event) => !menu.contains(event.target) && close(), { capture: true, signal: leaving.signal });
  document.body.append(menu);
  const at = anchor.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  menu.style.top = `${at.bottom + height + 8 < innerHeight ? at.bottom + 4 : at.top - height - 4}px`;
  anchor.setAttribute("aria-expanded", "true");
  items[0].focus();
}
