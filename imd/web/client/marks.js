// @ts-check
/** Telling the server what was stored and what was displayed: R7 of protocol §5. @module */

/** @import {Log, Frame, Turn} from "./types.js" */

/**
 * Marks a second, and at once: a server lets 50 frames a second pass that are no messages, and
 * 200 at once, and what has to wait there holds up all that comes after it.
 */
const RATE = 40;
const BURST = 150;

/** Marks that wait `delay` seconds for others of the same conversation. */
export class Marks {
  /** @param {number} delay */
  constructor(delay) {
    this.#delay = delay;
  }

  #delay;
  #tokens = BURST;
  #when = 0;
  /** @type {Map<number, Log>} */
  #owed = new Map();
  /** Cursors that went out in this session; the server's receipts lag behind them.
   * @type {Map<number, [number, number]>} */
  #sent = new Map();
  /** @type {number | null} */
  due = null;

  /** R7: a mark is due if the server is behind, and was not told in this session.
   * @param {Log} mine */
  owe(mine) {
    const [delivered, read] = this.#sent.get(mine.id) ?? [0, 0];
    const behind = mine.delivered > Math.max(mine.toldDelivered, delivered);
    if (behind || mine.read > Math.max(mine.toldRead, read)) this.#owed.set(mine.id, mine);
    // Another device of mine may have told it meanwhile.
    else this.#owed.delete(mine.id);
  }

  /** R7: send the marks that have waited long enough.
   * @param {Turn} turn @param {number} now */
  send(turn, now) {
    if (!this.#owed.size) {
      this.due = null;
    } else if (this.due === null && this.#delay) {
      this.due = now + this.#delay;
    } else if (this.due === null || now >= this.due) {
      for (const mine of this.#owed.values()) {
        if (!this.#may(now)) break;
        this.#owed.delete(mine.id);
        this.#sent.set(mine.id, [mine.delivered, mine.read]);
        turn.frames.push(markOf(mine));
      }
      this.due = this.#owed.size ? now + Math.max(this.#delay, 1 / RATE) : null;
    }
  }

  /** @param {number} now */
  #may(now) {
    this.#tokens = Math.min(BURST, this.#tokens + (now - this.#when) * RATE);
    this.#when = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** The session is gone; what the next one has to be told is seen after its heads. */
  lost() {
    this.#owed.clear();
    this.#sent.clear();
    this.due = null;
  }
}

/** @param {Log} mine @returns {Frame} */
function markOf(mine) {
  /** @type {Frame} */
  const mark = { type: "mark", conv: mine.id };
  if (mine.delivered > mine.toldDelivered) mark.delivered = mine.delivered;
  if (mine.read > mine.toldRead) mark.read = mine.read;
  return mark;
}
