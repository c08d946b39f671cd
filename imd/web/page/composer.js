// @ts-check
/** Where a message is written. @module */

import { h, icon, iconButton } from "./dom.js";
import { explain, t } from "./language.js";

/** On a touch screen Enter makes a new line: there is no Shift at hand. */
const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");

/** Characters that may come into the field at once: far more would keep browsers busy for long,
 * and could not be sent anyway. */
const PIECE = 20000;

/** @param {string} key */
function kept(key) {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** A draft that is too long to be kept, or may not be, stays in the field.
 * @param {string} key @param {string} text */
function keep(key, text) {
  try {
    sessionStorage.removeItem(key);
    if (text) sessionStorage.setItem(key, text);
  } catch {
    // Nothing is lost before the page is closed.
  }
}

/** The field and the button; the draft of a conversation stays with the tab. */
export class Composer {
  /** @param {number} conv @param {string} name @param {(text: string) => Promise<void>} send
   * @param {(files: File[]) => void} attach */
  constructor(conv, name, send, attach) {
    this.#kept = `imd.draft.${conv}`;
    this.#send = send;
    this.field = h("textarea", {
      rows: 1,
      dir: "auto",
      id: "composer",
      "aria-label": t("composer.label", { name }),
      placeholder: t("composer.placeholder"),
      enterkeyhint: TOUCH.matches ? "enter" : "send",
    });
    this.field.value = kept(this.#kept);
    const label = { "aria-label": t("composer.send"), title: t("composer.send") };
    this.#button = h("button", { type: "submit", class: "send", ...label }, icon("send"));
    this.#error = h("p", { class: "error", role: "alert", hidden: true });
    const picker = h("input", { type: "file", multiple: true, hidden: true, tabindex: "-1" });
    picker.addEventListener("change", () => {
      attach([...picker.files]);
      picker.value = "";
    });
    const pick = iconButton("attach", t("composer.attach"), () => picker.click());
    const bar = h("div", { class: "bar" }, picker, pick, this.field, this.#button);
    this.element = h("form", { class: "composer" }, this.#error, bar);
    this.#listen();
    this.#changed();
  }

  #kept;
  #send;
  #button;
  #error;

  #listen() {
    this.element.addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.field.addEventListener("beforeinput", (/** @type {InputEvent} */ event) => {
      const text = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
      if (text.length <= PIECE) return;
      event.preventDefault();
      this.refuse(t("error.too_large"));
    });
    this.field.addEventListener("input", () => this.#changed());
    this.field.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      // While an input method composes, Enter chooses a candidate.
      const composing = event.isComposing || event.keyCode === 229;
      if (event.key !== "Enter" || event.shiftKey || composing || TOUCH.matches) return;
      event.preventDefault();
      void this.#submit();
    });
  }

  #changed() {
    this.#error.hidden = true;
    this.#button.disabled = !this.field.value.trim();
    keep(this.#kept, this.field.value);
    if (CSS.supports("field-sizing", "content")) return;
    this.field.style.height = "auto";
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  async #submit() {
    const text = this.field.value.trim();
    if (!text) return;
    this.field.value = "";
    this.#changed();
    try {
      await this.#send(text);
    } catch (/** @type {any} */ error) {
      // Nobody is in any more, and whoever comes next shall not find it.
      if (error?.code === "unauthorized") return;
      if (!this.field.value) this.field.value = text;
      this.#changed();
      this.refuse(explain(error));
    }
    this.field.focus();
  }

  /** Say why something is not done. @param {string} why */
  refuse(why) {
    this.#error.textContent = why;
    this.#error.hidden = false;
  }
}
