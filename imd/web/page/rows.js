// @ts-check
/**
 * The rows of a conversation in their order: by `seq`, and after them what has none yet.
 * They stand in blocks, so that the browser skips those out of sight.
 * @module
 */

import { Bubble } from "./bubble.js";
import { h } from "./dom.js";
import { day, dayOf, t } from "./language.js";

/** @import {Message} from "../client/views.js" */
/** @typedef {{bubble: Bubble, message: Message, day?: Element, mark?: Element}} Entry */

/** Rows of a block. */
const BLOCK = 40;
/** Messages of one sender that follow so soon (ms) are a group. */
const GROUP = 5 * 60000;

/** Ids are chosen by clients: another's may be the same. @param {Message} message */
const keyOf = ({ from, id }) => `${from}/${id}`;
/** @param {Message} message */
const order = ({ seq }) => seq ?? Infinity;

/** All rows that were loaded. */
export class Rows {
  /** @param {(message: Message) => Bubble} make @param {number} read what was read before */
  constructor(make, read) {
    this.#make = make;
    this.#read = read;
    this.element = h("div", { class: "blocks" });
  }

  #make;
  #read;
  /** @type {Entry[]} */
  #entries = [];
  /** @type {Map<string, Entry>} */
  #known = new Map();

  /** The oldest `seq` that is here, or null. */
  get oldest() {
    return this.#entries[0]?.message.seq ?? null;
  }

  /** The newest `seq` that is here, or 0. */
  get newest() {
    return this.#entries.findLast(({ message }) => message.seq)?.message.seq ?? 0;
  }

  get size() {
    return this.#entries.length;
  }

  /** Messages before all others. @param {Message[]} items ascending */
  prepend(items) {
    const fresh = items.filter((one) => one.seq !== null && order(one) < (this.oldest ?? Infinity));
    for (let end = fresh.length; end > 0; end -= BLOCK)
      this.#block(fresh.slice(Math.max(0, end - BLOCK), end));
    for (const item of items) if (!this.#known.has(keyOf(item))) this.put(item);
  }

  /** @param {Message[]} items */
  #block(items) {
    const entries = items.map((message) => this.#entry(message));
    this.element.prepend(h("ol", { class: "block" }, entries.map(({ bubble }) => bubble.element)));
    const next = this.#entries[0];
    this.#entries.unshift(...entries);
    entries.forEach((entry, i) => this.#dress(entry, entries[i - 1]));
    if (next) this.#dress(next, entries.at(-1));
  }

  /** @param {Message} message @returns {Entry} */
  #entry(message) {
    const entry = { message, bubble: this.#make(message) };
    this.#known.set(keyOf(message), entry);
    return entry;
  }

  /** Show a message, or another state of it. @param {Message} message
   * @returns {boolean} whether it is new here */
  put(message) {
    const known = this.#known.get(keyOf(message));
    if (known && order(known.message) === order(message)) {
      this.#update(known, message);
      return false;
    }
    if (known) this.#take(known);
    if (known) this.#update(known, message);
    this.#insert(known ?? this.#entry(message));
    return !known;
  }

  /** @param {Entry} entry @param {Message} message */
  #update(entry, message) {
    entry.message = message;
    entry.bubble.update(message);
  }

  /** @param {Entry} entry */
  #insert(entry) {
    const at = this.#entries.findLastIndex(({ message }) => order(message) <= order(entry.message));
    const [before, after] = [this.#entries[at], this.#entries[at + 1]];
    if (after) (after.day ?? after.mark ?? after.bubble.element).before(entry.bubble.element);
    else this.#last().append(entry.bubble.element);
    this.#entries.splice(at + 1, 0, entry);
    this.#dress(entry, before);
    if (after) this.#dress(after, entry);
  }

  /** The block that new rows go to. */
  #last() {
    const last = this.element.lastElementChild;
    if (last && last.childElementCount < BLOCK) return last;
    return this.element.appendChild(h("ol", { class: "block" }));
  }

  /** @param {Entry} entry */
  #take(entry) {
    const at = this.#entries.indexOf(entry);
    this.#entries.splice(at, 1);
    for (const element of [entry.day, entry.mark, entry.bubble.element]) element?.remove();
    entry.day = entry.mark = undefined;
    if (this.#entries[at]) this.#dress(this.#entries[at], this.#entries[at - 1]);
  }

  /** Forget a row. @param {number} from @param {string} id */
  drop(from, id) {
    const entry = this.#known.get(`${from}/${id}`);
    if (!entry) return;
    this.#known.delete(`${from}/${id}`);
    this.#take(entry);
  }

  /** How far mine have come. @param {number} delivered @param {number} read */
  receipt(delivered, read) {
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = this.#entries[i];
      const { message } = entry;
      if (!message.mine || message.seq === null || message.seq > delivered) continue;
      const state = message.seq <= read ? "read" : "delivered";
      if (message.state === "read") break;
      if (message.state !== state) this.#update(entry, { ...message, state });
    }
  }

  /** What stands above a row depends on the one before it.
   * @param {Entry} entry @param {Entry | undefined} before */
  #dress(entry, before) {
    const { message, bubble } = entry;
    const newDay = !before || dayOf(before.message.at) !== dayOf(message.at);
    const isNew = (/** @type {Message} */ one) => !one.mine && order(one) > this.#read;
    const marked = isNew(message) && !!before && !isNew(before.message);
    entry.day = this.#line(entry.day, newDay, bubble, () => h("li", { class: "day" }, day(message.at)));
    const made = () => h("li", { class: "fresh" }, h("span", {}, t("thread.new")));
    entry.mark = this.#line(entry.mark, marked && this.#mayMark(entry), bubble, made);
    const gap = !before || message.at - before.message.at > GROUP;
    bubble.first = newDay || gap || !before || before.message.from !== message.from;
  }

  /** @type {Entry | null} */
  #marked = null;
  /** The line above what is new was drawn when the conversation was opened, and stays there. */
  sealed = false;

  /** @param {Entry} entry */
  #mayMark(entry) {
    if (!this.sealed && this.#read > 0) this.#marked ??= entry;
    return this.#marked === entry;
  }

  /** @param {Element | undefined} line @param {boolean} wanted @param {Bubble} bubble
   * @param {() => Element} make */
  #line(line, wanted, bubble, make) {
    if (wanted && line) return line;
    line?.remove();
    if (!wanted) return undefined;
    const made = make();
    bubble.element.before(made);
    return made;
  }
}
