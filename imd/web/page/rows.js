// @ts-check
/** The rows of a conversation in their order: by `seq`, and after them what has none yet. @module */

import { Blocks } from "./blocks.js";
import { dayOf } from "./language.js";
import { Row } from "./row.js";

/** @import {Bubble} from "./bubble.js" */
/** @import {Message} from "../client/views.js" */

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
    this.element = this.#blocks.element;
  }

  #make;
  #read;
  #blocks = new Blocks();
  /** @type {Row[]} */
  #rows = [];
  /** @type {Map<string, Row>} */
  #known = new Map();

  /** The oldest `seq` that is here, or null. */
  get oldest() {
    return this.#rows[0]?.message.seq ?? null;
  }

  /** The newest `seq` that is here, or 0. */
  get newest() {
    return this.#rows.findLast(({ message }) => message.seq)?.message.seq ?? 0;
  }

  /** What is seen: so many px above the end, so many high.
   * @param {number} below @param {number} height */
  look(below, height) {
    this.#blocks.look(below, height);
  }

  /** Messages before all others. @param {Message[]} items ascending */
  prepend(items) {
    const older = items.filter((one) => one.seq !== null && order(one) < (this.oldest ?? Infinity));
    const rows = older.map((message) => this.#row(this.#brought(message)));
    const next = this.#rows[0];
    this.#rows.unshift(...rows);
    rows.forEach((row, i) => this.#dress(row, rows[i - 1]));
    if (next) this.#dress(next, rows.at(-1));
    this.#blocks.prepend(rows);
    for (const item of items) if (!this.#known.has(keyOf(item))) this.put(item);
  }

  /** @param {Message} message @returns {Row} */
  #row(message) {
    const row = new Row(message, this.#make);
    this.#known.set(keyOf(message), row);
    return row;
  }

  /** Show a message, or another state of it. @param {Message} told
   * @returns {boolean} whether it is new here */
  put(told) {
    const message = this.#brought(told);
    const known = this.#known.get(keyOf(message));
    // A history may have been read before it was sent.
    if (known && known.message.seq !== null && message.seq === null) return false;
    if (!known) this.#insert(this.#row(message));
    else if (order(known.message) === order(message)) known.update(message);
    else this.#place(known, message);
    return !known;
  }

  /** A row gets its number.  It mostly stays where it is, and is not drawn anew then: somebody
   * may be pressing what is in it. @param {Row} row @param {Message} message */
  #place(row, message) {
    const at = this.#rows.lastIndexOf(row);
    const [before, after] = [this.#rows[at - 1], this.#rows[at + 1]];
    const stays =
      (!before || order(before.message) <= order(message)) &&
      (!after || order(after.message) > order(message));
    if (!stays) this.#take(row);
    row.update(message);
    if (!stays) {
      this.#insert(row);
      return;
    }
    this.#dress(row, before);
    if (after) this.#dress(after, row);
  }

  /** @param {Row} row */
  #insert(row) {
    const before = this.#rows.findLastIndex(({ message }) => order(message) <= order(row.message));
    this.#rows.splice(before + 1, 0, row);
    this.#dress(row, this.#rows[before]);
    this.#blocks.insert(row, this.#rows[before]);
    if (this.#rows[before + 2]) this.#dress(this.#rows[before + 2], row);
  }

  /** @param {Row} row */
  #take(row) {
    const at = this.#rows.indexOf(row);
    this.#rows.splice(at, 1);
    row.block?.remove(row);
    if (this.#rows[at]) this.#dress(this.#rows[at], this.#rows[at - 1]);
  }

  /** Forget a row. @param {number} from @param {string} id */
  drop(from, id) {
    const row = this.#known.get(`${from}/${id}`);
    if (!row) return;
    this.#known.delete(`${from}/${id}`);
    this.#take(row);
  }

  /** How far a file has come. @param {number} from @param {string} id
   * @param {number} sent @param {number} size */
  advance(from, id, sent, size) {
    this.#known.get(`${from}/${id}`)?.advance(sent, size);
  }

  /** What was told of mine, perhaps while they were being read. */
  #delivered = 0;
  #seenUpTo = 0;

  /** A message as it is by now. @param {Message} message */
  #brought(message) {
    const { mine, seq } = message;
    if (!mine || seq === null || seq > this.#delivered) return message;
    const state = seq <= this.#seenUpTo || message.state === "read" ? "read" : "delivered";
    return { ...message, state };
  }

  /** How far mine have come. @param {number} delivered @param {number} read */
  receipt(delivered, read) {
    this.#delivered = Math.max(this.#delivered, delivered);
    this.#seenUpTo = Math.max(this.#seenUpTo, read);
    for (let i = this.#rows.length - 1; i >= 0; i--) {
      const { message } = this.#rows[i];
      if (!message.mine || message.seq === null || message.seq > delivered) continue;
      const state = message.seq <= read ? "read" : "delivered";
      if (message.state === "read") break;
      if (message.state !== state) this.#rows[i].update({ ...message, state });
    }
  }

  /** What stands above a row depends on the one before it.
   * @param {Row} row @param {Row | undefined} before */
  #dress(row, before) {
    const { message } = row;
    const newDay = !before || dayOf(before.message.at) !== dayOf(message.at);
    const isNew = (/** @type {Message} */ one) => !one.mine && order(one) > this.#read;
    const marked = isNew(message) && !!before && !isNew(before.message) && this.#mayMark(row);
    const gap = !before || message.at - before.message.at > GROUP;
    const opens = newDay || gap || before.message.from !== message.from;
    row.dress({ newDay, marked, opens });
  }

  /** @type {Row | null} */
  #marked = null;
  /** The line above what is new was drawn when the conversation was opened, and stays there. */
  sealed = false;

  /** @param {Row} row */
  #mayMark(row) {
    if (!this.sealed && this.#read > 0) this.#marked ??= row;
    return this.#marked === row;
  }

  close() {
    this.#blocks.close();
  }
}
