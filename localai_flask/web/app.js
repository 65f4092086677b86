// The frame of the page: navigation by hash (`#/chat/…`), one module per view, and who may see which.
//
// A view is a module with `title` and `mount(root, context)`; what mount returns may have `update(path)`, called when
// the rest of the hash changes, and `unmount()`. `context` has `path` (the hash's segments behind the view's name),
// `side` (an element below the navigation that the view may fill), `signal` (aborted when the view is left),
// `setTitle(text)` and `isAdmin`.
import { json, request, ROOT } from "./lib/api.js";
import { ask } from "./lib/dialog.js";
import { button, h, icon } from "./lib/dom.js";
import { key, session, setKey } from "./lib/session.js";
import { setTheme, theme, THEMES } from "./lib/theme.js";

const VIEWS = [
  { name: "chat", label: "Chat", load: () => import("./views/chat.js") },
  { name: "models", label: "Models", load: () => import("./views/models.js") },
  { name: "server", label: "Server", load: () => import("./views/server.js"), adminOnly: true },
  { name: "try", label: "Try it", load: () => import("./views/try_it.js") },
];
const THEME_ICONS = { system: "system", light: "sun", dark: "moon" };
const THEME_LABELS = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

const links = new Map(VIEWS.map((view) => [view.name, h("a", { href: `#/${view.name}` }, icon(view.name), view.label)]));
const version = h("span", { class: "version" });
const slot = h("div", { class: "side-slot" });
const heading = h("div", { class: "title" });
const actions = h("div", { class: "row" });
const view = h("main", { class: "view", id: "main", tabindex: "-1" });
const menu = button("Menu", { icon: "menu", bare: true, class: "quiet", "aria-expanded": "false" }, () => openSide(true));
const side = h(
  "aside",
  { class: "side", "aria-label": "Navigation" },
  h("a", { class: "brand", href: "#/chat" }, h("img", { src: new URL("icon.svg", import.meta.url).href, alt: "" }), "localai-flask"),
  h("nav", { "aria-label": "Views" }, h("ul", { class: "nav" }, VIEWS.map((each) => h("li", {}, links.get(each.name))))),
  slot,
  h("div", { class: "side-foot" }, version, themeButton(), keyButton()),
);
const shell = h(
  "div",
  { class: "shell" },
  h("header", { class: "topbar" }, menu, heading, actions),
  side,
  h("button", { class: "scrim", type: "button", "aria-label": "Close the menu", on: { click: () => openSide(false) } }),
  view,
);

let admin = true;
let shown = null;

function openSide(open) {
  shell.classList.toggle("side-open", open);
  menu.setAttribute("aria-expanded", String(open));
  if (open) side.querySelector("a").focus();
  else if (side.contains(document.activeElement)) menu.focus();
}

function themeButton() {
  const element = button("Theme", { icon: THEME_ICONS[theme()], bare: true, class: "quiet small" }, () => {
    setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
    show();
  });
  const show = () => {
    element.firstChild.replaceWith(icon(THEME_ICONS[theme()]));
    element.lastChild.textContent = element.title = THEME_LABELS[theme()];
  };
  show();
  return element;
}

function keyButton() {
  return button("API key", { icon: "key", bare: true, class: "quiet small" }, async () => {
    const input = h("input", { class: "input", type: "password", value: key(), autocomplete: "off", autofocus: true });
    const content = [
      h("p", { class: "hint" }, "Sent with every request to this server, and kept in this browser only. Leave it empty to forget it."),
      h("label", { class: "field" }, h("span", {}, "Key"), input),
    ];
    if (await ask({ title: "API key", content, accept: "Save" })) setKey(input.value);
  });
}

/** Learn whether this key may look after the server: what only administrators may ask is refused to others. */
async function findRights() {
  admin = await request("/requests").then(
    () => true,
    (error) => error.status !== 401 && error.status !== 403,
  );
  for (const each of VIEWS) links.get(each.name).parentElement.hidden = Boolean(each.adminOnly) && !admin;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign, typed by hand
  }
}

function parts() {
  const [name, ...path] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  const found = VIEWS.find((each) => each.name === name && (admin || !each.adminOnly));
  return found ? { found, path } : { found: VIEWS[0], path: [] };
}

async function route() {
  if (location.hash === "#main") return; // the link that skips the navigation
  const { found, path } = parts();
  openSide(false);
  if (shown?.name === found.name) {
    if (shown.view?.update) return shown.view.update(path);
  }
  leave();
  const leaving = new AbortController();
  const mine = (shown = { name: found.name, leaving, view: null });
  for (const [name, link] of links) {
    if (name === found.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  setTitle(found.label);
  try {
    const module = await found.load();
    if (shown !== mine) return;
    const ownTitle = (text) => leaving.signal.aborted || setTitle(text);
    mine.view = await module.mount(view, { path, side: slot, actions, signal: leaving.signal, setTitle: ownTitle, isAdmin: admin });
    if (shown !== mine) mine.view?.unmount?.();
  } catch (error) {
    if (error.name === "AbortError" || shown !== mine) return;
    view.replaceChildren(h("div", { class: "page" }, h("p", { class: "notice bad", role: "alert" }, error.message)));
    throw error;
  }
}

function leave() {
  shown?.leaving.abort();
  shown?.view?.unmount?.();
  for (const each of [view, slot, actions]) each.replaceChildren();
  view.className = "view";
}

function setTitle(text) {
  document.title = `${text} · localai-flask`;
  heading.textContent = text;
}

async function start() {
  document.body.append(shell);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") openSide(false);
  });
  window.addEventListener("hashchange", route);
  await findRights();
  session.addEventListener("change", async () => {
    await findRights();
    leave();
    shown = null;
    route();
  });
  route();
  json("/version", { quiet: true }).then((said) => (version.textContent = `Version ${said.version}`), () => {});
}

start();
