// Questions in a dialog, and short notices at the foot of the page.
import { button, h } from "./dom.js";

/** Show a dialog; returns whether it was accepted. `content` are its elements. */
export function ask({ title, content, accept = "OK", cancel = "Cancel", danger = false, wide = false }) {
  return new Promise((resolve) => {
    const heading = h("h2", { id: "dialog-title" }, title);
    const yes = h("button", { class: `button primary ${danger ? "danger-fill" : ""}`, value: "yes" }, accept);
    const no = cancel && h("button", { class: "button", value: "no", formnovalidate: true }, cancel);
    const form = h("form", { method: "dialog" }, heading, content, h("div", { class: "actions" }, no, yes));
    const dialog = h("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : "" }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault(); // the policy lets no form go anywhere
      dialog.close(event.submitter?.value ?? "yes");
    });
    // Enter in a field presses the first button of a form, which is to cancel.
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.tagName === "INPUT") {
        event.preventDefault();
        form.requestSubmit(yes);
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const toasts = h("div", { class: "toasts", role: "status" });

/** Show a notice for a few seconds; `action` is `{label, run}`, such as to undo. */
export function notify(message, action) {
  if (!toasts.isConnected) document.body.append(toasts);
  const toast = h("div", { class: "toast" }, h("p", {}, message));
  const leave = () => toast.remove();
  if (action) toast.append(button(action.label, { class: "quiet small" }, () => (leave(), action.run())));
  toast.append(button("Dismiss", { icon: "close", bare: true, class: "quiet small" }, leave));
  toasts.append(toast);
  setTimeout(leave, action ? 10000 : 6000);
}

/** Show an error's words; one that was meant, as by leaving the view, is none. */
export function complain(error) {
  if (error.name === "AbortError") return;
  notify(error.message);
}
