// Tabs as the keyboard and screen readers know them: arrows move between them, one panel is shown.
import { h } from "./dom.js";

let made = 0;

/** `tabs` are `{name, label, panel}`; `onChange(name)` is called for the one that is shown, the first time too. */
export function makeTabs(label, tabs, onChange = () => {}) {
  const id = `tabs-${(made += 1)}`;
  const heads = tabs.map((tab) =>
    h("button", { type: "button", role: "tab", id: `${id}-${tab.name}`, "aria-controls": `${id}-panel-${tab.name}`, on: { click: () => choose(tab.name) } }, tab.label),
  );
  const panels = tabs.map((tab) => h("div", { role: "tabpanel", id: `${id}-panel-${tab.name}`, "aria-labelledby": `${id}-${tab.name}`, tabindex: "0" }, tab.panel));
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": label, on: { keydown: step } }, heads);

  function choose(name, hasFocus = false) {
    tabs.forEach((tab, index) => {
      const isChosen = tab.name === name;
      heads[index].setAttribute("aria-selected", String(isChosen));
      heads[index].tabIndex = isChosen ? 0 : -1;
      panels[index].hidden = !isChosen;
      if (isChosen && hasFocus) heads[index].focus();
    });
    onChange(name);
  }

  function step(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = heads.findIndex((head) => head.getAttribute("aria-selected") === "true");
    choose(tabs[(at + by + tabs.length) % tabs.length].name, true);
  }

  choose(tabs[0].name);
  return { element: h("div", { class: "tabbed" }, list, panels), list, panels, choose };
}
