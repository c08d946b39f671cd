// @ts-check
/** Dialogs: the browser holds the focus in them, and closes them with Esc. @module */

import { h, iconButton } from "./dom.js";
import { explain, t } from "./language.js";

/** Show a dialog; it is gone once it is closed.
 * @param {string} title @param {...(Node | string)} content @returns {HTMLDialogElement} */
export function dialog(title, ...content) {
  const close = iconButton("close", t("dialog.close"), () => box.close());
  const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const inner = h("div", { class: "inner" }, h("header", {}, heading, close), ...content);
  const box = h("dialog", { "aria-labelledby": "dialog-title" }, inner);
  box.addEventListener("close", () => box.remove());
  // A press on the dialog itself is one beside its content.
  box.addEventListener("click", (/** @type {Event} */ { target }) => target === box && box.close());
  document.body.append(box);
  box.showModal();
  heading.focus();
  return box;
}

/** Ask before something is done that is hard to undo.
 * @param {string} question @param {string} hint @param {string} act @returns {Promise<boolean>} */
export function sure(question, hint, act) {
  return new Promise((resolve) => {
    let answer = false;
    const say = (/** @type {boolean} */ value) => () => {
      answer = value;
      box.close();
    };
    const no = h("button", { type: "button", onclick: say(false) }, t("dialog.cancel"));
    const yes = h("button", { type: "button", class: "danger", onclick: say(true) }, act);
    const row = h("div", { class: "actions" }, no, yes);
    const words = [h("h2", { id: "sure" }, question), h("p", {}, hint)];
    const inner = h("div", { class: "inner" }, ...words, row);
    const box = h("dialog", { class: "sure", "aria-labelledby": "sure" }, inner);
    box.addEventListener("close", () => (box.remove(), resolve(answer)));
    document.body.append(box);
    box.showModal();
  });
}

let fields = 0;

/** A field with its label. @param {string} label @param {Record<string, any>} attributes
 * @param {string} [hint] */
export function field(label, attributes, hint) {
  const id = `field-${++fields}`;
  const about = hint ? { "aria-describedby": `${id}-hint` } : {};
  const usual = { autocapitalize: "none", spellcheck: "false", ...about };
  const input = h("input", { id, ...usual, ...attributes });
  const words = hint && h("small", { id: `${id}-hint` }, hint);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, words);
  return { element, input };
}

/** A form that says what came of it; while it works it takes no second press.
 * @param {(Node | string)[]} content @param {string} label of the button
 * @param {() => Promise<string>} act returns what to say
 * @param {(error: any) => string} [wrong] */
export function form(content, label, act, wrong = explain) {
  const said = h("p", { class: "said", role: "status" });
  const button = h("button", { type: "submit", class: "primary" }, label);
  const element = h("form", {}, ...content, h("div", { class: "actions" }, said, button));
  element.addEventListener("submit", async (/** @type {Event} */ event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      said.className = "said";
      said.textContent = await act();
    } catch (error) {
      said.className = "said error";
      said.textContent = wrong(error);
    } finally {
      button.disabled = false;
    }
  });
  return element;
}
