// @ts-check
/**
 * Rows in blocks, of which only those near what is seen have anything in them.  The others are
 * as high as they were, so that nothing moves.  Heights count from the end, where the view
 * begins: what is prepended, or turns out higher above, moves nothing either.
 * @module
 */

import { h } from "./dom.js";

/** @import {Row} from "./row.js" */

/** Rows of a block. */
const SIZE = 20;
/** Blocks so near (px) to what is seen are filled. */
const MARGIN = 900;
/** The height (px) of a row that nobody has seen yet. */
const GUESS = 62;

/** Some rows that come and go together. */
export class Block {
  element = h("ol", { class: "block" });
  /** @type {Row[]} */
  rows = [];
  height = 0;
  filled = false;

  fill() {
    if (this.filled) return;
    this.filled = true;
    this.element.style.height = "";
    this.element.replaceChildren(...this.rows.flatMap((row) => row.show()));
  }

  empty() {
    if (!this.filled || this.#inUse()) return;
    this.filled = false;
    for (const row of this.rows) row.hide();
    this.#reserve(0);
  }

  /** The focus or a selection would be lost. */
  #inUse() {
    const selected = getSelection();
    if (this.element.contains(document.activeElement)) return true;
    return !!selected && !selected.isCollapsed && selected.containsNode(this.element, true);
  }

  /** Put a row at an index. @param {Row} row @param {number} at */
  insert(row, at) {
    const next = this.rows[at]?.start ?? null;
    this.rows.splice(at, 0, row);
    row.block = this;
    if (!this.filled) return this.#reserve(GUESS);
    for (const element of row.show()) this.element.insertBefore(element, next);
  }

  /** @param {Row} row */
  remove(row) {
    this.rows.splice(this.rows.indexOf(row), 1);
    row.block = null;
    row.hide();
    if (!this.filled) this.#reserve(-GUESS);
  }

  /** @param {number} more px */
  #reserve(more) {
    this.height = this.rows.length ? Math.max(0, this.height + more) : 0;
    this.element.style.height = `${this.height}px`;
  }
}

/** All blocks; `look` says which part is seen. */
export class Blocks {
  element = h("div", { class: "blocks" });
  /** @type {Block[]} */
  #all = [];
  #seen = { below: 0, height: 1000 };
  #again = 0;
  /** @type {Map<Element, Block>} */
  #of = new Map();
  #sizes = new ResizeObserver((entries) => this.#measured(entries));

  /** Rows before all others. @param {Row[]} rows ascending */
  prepend(rows) {
    for (let end = rows.length; end > 0; end -= SIZE) {
      const block = this.#new(0);
      for (const row of rows.slice(Math.max(0, end - SIZE), end)) block.insert(row, block.rows.length);
    }
    this.#show();
  }

  /** @param {number} at */
  #new(at) {
    const block = new Block();
    this.element.insertBefore(block.element, this.#all[at]?.element ?? null);
    this.#all.splice(at, 0, block);
    this.#of.set(block.element, block);
    this.#sizes.observe(block.element);
    return block;
  }

  /** @param {Row} row @param {Row | undefined} after */
  insert(row, after) {
    const block = after?.block ?? this.#all[0] ?? this.#new(0);
    const last = this.#all.at(-1) === block && block.rows.at(-1) === after;
    if (last && block.rows.length >= SIZE) this.#new(this.#all.length).insert(row, 0);
    else block.insert(row, after ? block.rows.indexOf(after) + 1 : 0);
    this.#show();
  }

  /** What is seen: so many px above the end, so many high.
   * @param {number} below @param {number} height */
  look(below, height) {
    this.#seen = { below, height };
    this.#show();
  }

  #show() {
    const { below, height } = this.#seen;
    let end = 0;
    for (let i = this.#all.length - 1; i >= 0; i--) {
      const block = this.#all[i];
      const start = end + block.height;
      if (start >= below - MARGIN && end <= below + height + MARGIN) block.fill();
      else block.empty();
      end = start;
    }
  }

  /** @param {ResizeObserverEntry[]} entries */
  #measured(entries) {
    for (const { target, borderBoxSize } of entries) {
      const block = this.#of.get(target);
      if (block?.filled) block.height = borderBoxSize[0].blockSize;
    }
    // Other blocks may be near now; not within this round of layout.
    this.#again ||= requestAnimationFrame(() => {
      this.#again = 0;
      this.#show();
    });
  }

  close() {
    cancelAnimationFrame(this.#again);
    this.#sizes.disconnect();
  }
}
