// Elements without HTML: `h("a", {href, class: "x", on: {click}}, "text", child)`. Text is always text.
import { ICONS } from "./icons.js";

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "textContent", "selected", "indeterminate"]);

export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  set(element, props);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function set(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined) continue;
    if (name === "on") for (const [event, handle] of Object.entries(value)) element.addEventListener(event, handle);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** A button with an icon; `label` is read out, and shown unless `bare`. */
export function button(label, { icon: name, bare = false, class: classes = "", title, ...props } = {}, handle) {
  const element = h(
    "button",
    { type: "button", class: `button ${bare ? "icon-only" : ""} ${classes}`, title: title ?? (bare ? label : undefined), ...props },
    name && icon(name),
    bare ? h("span", { class: "unseen" }, label) : label,
  );
  if (handle) element.addEventListener("click", handle);
  return element;
}
