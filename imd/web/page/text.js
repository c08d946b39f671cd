// @ts-check
/** The text of a message: links that can be trusted, and long ones folded. @module */

import { h } from "./dom.js";
import { t } from "./language.js";

// No bidirectional controls: they would show another address than the one that is opened.
const LINK = /https?:\/\/[^\s<>"'\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const AFTER = /[.,;:!?\u3002\uff0c\uff1b\uff1a\uff01\uff1f\u3001\uff09)\]}]+$/u;
const SYMBOLS = /^(?:\p{Extended_Pictographic}[\u{fe0f}\u{1f3fb}-\u{1f3ff}\u200d]*\s*){1,4}$/u;
/** Beyond so many characters or lines a text is folded. */
const LONG = 1500;
const LINES = 24;

/** The words of a message. @param {string} text */
export function textOf(text) {
  const kind = SYMBOLS.test(text) ? "text symbols" : "text";
  const element = h("div", { class: kind, dir: "auto" }, linked(text));
  return long(text) ? folded(element) : [element];
}

/** @param {string} text */
function long(text) {
  return text.length > LONG || text.split("\n", LINES + 1).length > LINES;
}

/** @param {HTMLElement} element */
function folded(element) {
  element.classList.add("folded");
  const label = () => t(element.classList.contains("folded") ? "thread.more" : "thread.less");
  const button = h("button", { type: "button", class: "fold", "aria-expanded": "false" }, label());
  button.addEventListener("click", () => {
    const closed = element.classList.toggle("folded");
    button.setAttribute("aria-expanded", String(!closed));
    button.textContent = label();
    if (closed) element.scrollIntoView({ block: "nearest" });
  });
  return [element, button];
}

/** Text and links, as children of an element. @param {string} text @returns {(string | Node)[]} */
export function linked(text) {
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(LINK)) {
    const link = trimmed(found[0]);
    const target = safe(link);
    if (!target) continue;
    parts.push(text.slice(end, found.index), anchor(link, target));
    end = found.index + link.length;
  }
  parts.push(text.slice(end));
  return parts;
}

/** Without the punctuation of the sentence; a closing bracket stays, if it was opened.
 * @param {string} link */
function trimmed(link) {
  const bare = link.replace(AFTER, "");
  const opened = bare.includes("(") && !bare.includes(")") && link[bare.length] === ")";
  return opened ? `${bare})` : bare;
}

/** An address with a user name in it pretends to be another host. @param {string} link */
function safe(link) {
  const url = URL.canParse(link) ? new URL(link) : null;
  const known = url && ["http:", "https:"].includes(url.protocol);
  return known && !url.username && !url.password ? url.href : null;
}

/** @param {string} text @param {string} href */
function anchor(text, href) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
}
