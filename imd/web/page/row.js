// @ts-check
/** A message's place in the view, with what stands above it. @module */

import { h } from "./dom.js";
import { day, t } from "./language.js";

/** @import {Bubble} from "./bubble.js" */
/** @import {Message} from "../client/views.js" */

/** Has elements only while it is near what is seen. */
export class Row {
  /** @param {Message} message @param {(message: Message) => Bubble} make */
  constructor(message, make) {
    this.message = message;
    this.#make = make;
  }

  #make;
  /** @type {import("./blocks.js").Block | null} */
  block = null;
  /** @type {Bubble | null} */
  #bubble = null;
  /** @type {Element[]} */
  #above = [];
  /** @type {[sent: number, size: number] | null} */
  #progress = null;
  #dress = { newDay: false, marked: false, opens: false };

  /** Make the elements, or take those there are. @returns {Element[]} */
  show() {
    this.#bubble ??= this.#make(this.message);
    this.#bubble.first = this.#dress.opens;
    if (this.#progress) this.#bubble.advance(...this.#progress);
    this.#above = this.#lines();
    return [...this.#above, this.#bubble.element];
  }

  #lines() {
    const { newDay, marked } = this.#dress;
    const lines = [];
    if (newDay) lines.push(h("li", { class: "day" }, day(this.message.at)));
    if (marked) lines.push(h("li", { class: "fresh" }, h("span", {}, t("thread.new"))));
    return lines;
  }

  /** Let the elements go; a text that was unfolded by hand is kept as it is. */
  hide() {
    for (const line of this.#above) line.remove();
    this.#above = [];
    this.#bubble?.element.remove();
    if (!this.#bubble?.unfolded) this.#bubble = null;
  }

  /** Show another state. @param {Message} message */
  update(message) {
    this.message = message;
    this.#bubble?.update(message);
  }

  /** @param {number} sent bytes that are at the server @param {number} size of all */
  advance(sent, size) {
    this.#progress = [sent, size];
    this.#bubble?.advance(sent, size);
  }

  /** @param {{newDay: boolean, marked: boolean, opens: boolean}} dress what stands above, and
   * whether it begins a group of messages that belong together */
  dress(dress) {
    const { newDay, marked } = this.#dress;
    this.#dress = dress;
    const bubble = this.#bubble;
    if (!bubble?.element.parentNode) return;
    bubble.first = dress.opens;
    if (newDay === dress.newDay && marked === dress.marked) return;
    for (const line of this.#above) line.remove();
    this.#above = this.#lines();
    bubble.element.before(...this.#above);
  }

  /** Where the row begins in its block, if it has elements. @returns {Element | undefined} */
  get start() {
    return this.#above[0] ?? this.#bubble?.element;
  }
}
