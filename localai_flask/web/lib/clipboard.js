// Copying, with a word of it for those who do not see the icon change.
import { button, icon } from "./dom.js";
import { notify } from "./dialog.js";

/** A button that copies what `text()` returns. */
export function copyButton(text, { label = "Copy", bare = true } = {}) {
  const element = button(label, { icon: "copy", bare, class: "quiet small copy" }, async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      notify("This browser lets pages copy only over HTTPS or on localhost.");
      return;
    }
    element.firstChild.replaceWith(icon("check"));
    setTimeout(() => element.firstChild.replaceWith(icon("copy")), 1500);
  });
  return element;
}
