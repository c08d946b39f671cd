// @ts-check
/** Which conversations lack something, and when it is fetched (R3, R4 and R8 of §5). @module */

/** @import {Log} from "./types.js" */

/** Items asked for at once (protocol §8: at most 200), and for a first look. */
export const PAGE = 200;
const LOOK = 20;
/** Fetches in flight; the server takes 8 requests, and the application needs some. */
const FETCHES = 3;

/** What is missing, is to be fetched, and is being fetched; conversations by id. */
export class Holes {
  /** When a hole is to be fetched. @type {Map<number, number>} */
  #gaps = new Map();
  /** @type {number | null} */
  due = null;
  /** @type {Set<number>} */
  #wanted = new Set();
  /** @type {Set<number>} */
  #fetching = new Set();
  /** Conversations of which nothing is stored, though there is something.
   * @type {Set<number>} */
  #bare = new Set();

  /** Something is missing: fetch it at `due`, unless it comes by itself.
   * @param {Log} mine @param {number} due */
  behind({ id }, due) {
    if (this.#gaps.has(id) || this.#wanted.has(id) || this.#fetching.has(id)) return;
    this.#gaps.set(id, due);
    this.due = Math.min(this.due ?? due, due);
  }

  /** Something is missing: fetch it as soon as may be. @param {Log} mine */
  want({ id }) {
    if (this.#fetching.has(id)) return;
    this.#gaps.delete(id);
    this.#wanted.add(id);
  }

  /** Nothing is missing any more. @param {Log} mine */
  filled({ id }) {
    this.#gaps.delete(id);
    this.#wanted.delete(id);
  }

  /** R3: holes that lasted long enough are to be fetched. @param {number} now */
  tick(now) {
    if (this.due === null || now < this.due) return;
    for (const [id, due] of [...this.#gaps])
      if (due <= now) {
        this.#gaps.delete(id);
        this.#wanted.add(id);
      }
    this.due = this.#gaps.size ? Math.min(...this.#gaps.values()) : null;
  }

  /** R8: where nothing is stored a first look is taken at the history. @param {Log} mine */
  look(mine) {
    if (mine.base === mine.have && mine.have >= mine.floor) this.#bare.add(mine.id);
  }

  /** The fields of the next fetch to send; null if there is none now.
   * @param {ReadonlyMap<number, Log>} logs @param {ReadonlySet<number>} frozen */
  next(logs, frozen) {
    for (const id of this.#wanted) {
      if (this.#fetching.size >= FETCHES) return null;
      this.#wanted.delete(id);
      const mine = logs.get(id);
      if (!mine || frozen.has(id)) continue;
      this.#fetching.add(id);
      return { conv: id, after: mine.have, limit: PAGE };
    }
    return null;
  }

  /** The next look to take, one at a time, once nothing is missing any more.
   * @param {ReadonlyMap<number, Log>} logs @param {ReadonlySet<number>} frozen */
  nextLook(logs, frozen) {
    const busy = this.#gaps.size + this.#wanted.size + this.#fetching.size + frozen.size;
    if (busy) return null;
    for (const id of this.#bare) {
      this.#bare.delete(id);
      this.#fetching.add(id);
      return { conv: id, before: (logs.get(id)?.base ?? 0) + 1, limit: LOOK };
    }
    return null;
  }

  /** The fetch or look was answered. @param {number} conv */
  answered(conv) {
    this.#fetching.delete(conv);
  }

  /** The session is gone. */
  lost() {
    for (const ids of [this.#gaps, this.#wanted, this.#fetching]) ids.clear();
    this.due = null;
  }
}
