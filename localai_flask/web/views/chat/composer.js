// Where one writes: the text, images and documents, the model, and the button that sends, or stops what is being answered.
import { button, h, icon } from "../../lib/dom.js";
import { complain } from "../../lib/dialog.js";
import { filesIn } from "../../lib/files.js";
import { number } from "../../lib/format.js";
import { documentChip } from "./document_chip.js";
import { readDocument } from "./documents.js";
import { isImage, readImage } from "./images.js";

export class Composer {
  /** `acts`: `send({text, images, files})` (returns whether it was taken), `stop()`, `editLast()`, `chooseModel(name)`, `openSettings()`. */
  constructor(acts) {
    this.acts = acts;
    this.images = [];
    this.files = [];
    this.running = false;
    this.models = [];
    this.text = h("textarea", { class: "composer-text", rows: "1", placeholder: "Write a message", "aria-label": "Message", name: "message" });
    this.thumbs = h("div", { class: "thumbs", hidden: true });
    this.model = h("select", { class: "model-choice", "aria-label": "Model", name: "model" });
    this.picker = h("input", { type: "file", multiple: true, hidden: true, "aria-label": "Images and documents" });
    this.fileButton = button("Add images and documents", { icon: "clip", bare: true, class: "quiet" }, () => this.picker.click());
    this.settingsButton = button("Settings of this conversation", { icon: "sliders", bare: true, class: "quiet", "aria-expanded": "false" }, () => acts.openSettings());
    this.sendButton = button("Send", { icon: "send", bare: true, class: "primary send" }, () => (this.running ? acts.stop() : this.#send()));
    this.room = h("span", { class: "room number" });
    this.element = h(
      "form",
      { class: "composer", "aria-label": "Write" },
      this.thumbs,
      this.text,
      this.picker,
      h("div", { class: "composer-row" }, this.fileButton, this.settingsButton, this.model, h("span", { class: "grow" }), this.room, this.sendButton),
    );
    this.#listen();
    this.#refresh();
  }

  #listen() {
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.text.addEventListener("input", () => this.#refresh());
    this.text.addEventListener("keydown", (event) => this.#onKey(event));
    this.text.addEventListener("paste", (event) => this.#take(event, filesIn(event.clipboardData)));
    this.picker.addEventListener("change", () => this.addFiles(filesIn(this.picker)).then(() => (this.picker.value = "")));
    this.model.addEventListener("change", () => this.acts.chooseModel(this.model.value));
    // A click beside the text means the text.
    this.element.addEventListener("click", (event) => event.target === this.element && this.text.focus());
  }

  #take(event, files) {
    if (!files.length) return;
    event.preventDefault();
    this.addFiles(files);
  }

  get #hasFiles() {
    return this.images.length + this.files.length > 0;
  }

  #onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!this.running) this.#send();
    } else if (event.key === "ArrowUp" && this.text.value === "" && !this.#hasFiles) {
      event.preventDefault();
      this.acts.editLast();
    }
  }

  async addFiles(files) {
    for (const file of files) {
      try {
        if (isImage(file)) this.images.push(await readImage(file));
        else this.files.push(await readDocument(file));
      } catch (error) {
        complain(error);
      }
    }
    this.#showThumbs();
    this.#refresh();
    this.text.focus();
  }

  #showThumbs() {
    this.thumbs.hidden = !this.#hasFiles;
    this.thumbs.replaceChildren(
      ...this.images.map((address, index) => {
        const remove = this.#removeButton(`Remove image ${index + 1}`, this.images, index);
        return h("div", { class: "thumb" }, h("img", { src: address, alt: `Image ${index + 1}` }), remove);
      }),
      ...this.files.map(({ name }, index) => h("div", { class: "thumb" }, documentChip(name), this.#removeButton(`Remove ${name}`, this.files, index))),
    );
    const blind = this.images.length > 0 && !this.#sees();
    if (blind) this.thumbs.append(h("p", { class: "hint" }, `${this.model.value || "This model"} cannot see images.`));
  }

  #removeButton(label, list, index) {
    return button(label, { icon: "close", bare: true, class: "small" }, () => {
      list.splice(index, 1);
      this.#showThumbs();
      this.#refresh();
    });
  }

  #sees() {
    const model = this.models.find((each) => each.id === this.model.value);
    return model?.architecture?.input_modalities?.includes("image") ?? false;
  }

  async #send() {
    const text = this.text.value.trim();
    if (!text && !this.#hasFiles) return;
    try {
      if (await this.acts.send({ text, images: this.images, files: this.files })) this.fill("");
    } catch (error) {
      complain(error); // such as a browser that has no room left
    }
  }

  /** Put a text there to be sent, or nothing. */
  fill(text) {
    this.text.value = text;
    this.images = [];
    this.files = [];
    this.#showThumbs();
    this.#refresh();
  }

  showModels(models, chosen) {
    this.models = models;
    const option = ({ id }) => h("option", { value: id, selected: id === chosen }, id);
    const loaded = models.filter((each) => each.state === "ready");
    const others = models.filter((each) => each.state !== "ready");
    const group = (label, list) => list.length && h("optgroup", { label }, list.map(option));
    this.model.replaceChildren(...(loaded.length && others.length ? [group("In memory", loaded), group("Not loaded", others)] : models.map(option)));
    this.model.hidden = models.length === 0;
    this.#showThumbs();
    this.#refresh();
  }

  /** Show whether something is being answered here, and how full the model's context was. */
  showState({ running, usage, contextLength }) {
    this.running = running;
    const label = running ? "Stop" : "Send";
    this.sendButton.firstChild.replaceWith(icon(running ? "stop" : "send"));
    this.sendButton.classList.toggle("stops", running);
    this.sendButton.lastChild.textContent = this.sendButton.title = label;
    const used = usage ? usage.input_tokens + usage.output_tokens : 0;
    this.room.textContent = used && contextLength ? `${number(used)} of ${number(contextLength)} tokens` : "";
    this.#refresh();
  }

  /** Have what is typed go here; not on a phone by itself, whose keyboard would cover half of what there is to see. */
  focus() {
    if (matchMedia("(hover: hover)").matches) this.text.focus({ preventScroll: true });
  }

  #refresh() {
    this.sendButton.disabled = !this.running && !this.text.value.trim() && !this.#hasFiles;
    if (!CSS.supports("field-sizing", "content")) {
      this.text.style.height = "auto";
      this.text.style.height = `${this.text.scrollHeight}px`;
    }
  }
}
