// Light, dark, or as the system prefers.
import { keep, kept } from "./kept.js";

export const THEMES = ["system", "light", "dark"];

export function theme() {
  return THEMES.includes(kept("theme")) ? kept("theme") : "system";
}

export function setTheme(name) {
  keep("theme", name === "system" ? null : name);
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}
