// @ts-check
/**
 * Which of the tabs holds the connection.
 *
 * With Web Locks the browser decides, and notices when a tab dies.  They are missing on plain
 * http (other than localhost): then the leader shows by a counter in the database that it
 * lives.  No clock is compared, so one that jumps does no harm, and a leader whose timers are
 * throttled in the background is asked before it is replaced.
 * @module
 */

import { now, sleep } from "./system.js";

/** @import {Timings} from "./types.js" */
/** @import {Lead} from "./store.js" */
/**
 * @typedef {{lead(): Promise<Lead | undefined>, claim(term: string, old?: string): Promise<boolean>,
 *   beat(term: string): Promise<void>, resign(term: string): Promise<void>}} Store
 */
/** @typedef {{elected(term: string): void, deposed(): void}} Owner */

/** Elects by `navigator.locks`. */
export class Locks {
  /** @param {string} name @param {Store} store @param {Owner} owner */
  constructor(name, store, owner) {
    this.#name = name;
    this.#store = store;
    this.#owner = owner;
  }

  #name;
  #store;
  #owner;
  #waiting = new AbortController();
  #release = () => {};

  /** Stand for election until `leave`. @param {string} term */
  async stand(term) {
    const { signal } = this.#waiting;
    const hold = () => this.#hold(term, signal);
    await navigator.locks.request(this.#name, { signal }, hold).catch((error) => {
      if (!signal.aborted) throw error;
    });
  }

  /** @param {string} term @param {AbortSignal} signal */
  async #hold(term, signal) {
    while (!(await this.#store.claim(term, (await this.#store.lead())?.term)));
    if (signal.aborted) return;
    const held = new Promise((resolve) => (this.#release = () => resolve(null)));
    this.#owner.elected(term);
    await held;
  }

  /** Lead no more, and stand no more. */
  async leave() {
    this.#waiting.abort();
    this.#release();
  }
}

/** Elects by a counter in the database; `alive` asks a leader whether it is there. */
export class Lease {
  /** @param {Store} store @param {Owner} owner @param {Timings} timings
   * @param {() => Promise<boolean>} alive */
  constructor(store, owner, timings, alive) {
    this.#store = store;
    this.#owner = owner;
    this.#timings = timings;
    this.#alive = alive;
  }

  #store;
  #owner;
  #timings;
  #alive;
  #left = false;
  /** @type {string | null} */
  #term = null;
  /** @type {Lead | undefined} */
  #seen;
  #since = 0;
  #wake = () => {};

  /** Stand for election until `leave`. @param {string} term */
  async stand(term) {
    while (!this.#left && !(await this.#vacant(term))) await this.#pause();
    if (this.#left) return;
    this.#term = term;
    this.#owner.elected(term);
    try {
      for (; !this.#left; await this.#pause()) await this.#store.beat(term);
    } catch {
      if (!this.#left) this.#owner.deposed();
    }
  }

  /** Take the lead if nobody has it, or nobody lives who has. @param {string} term */
  async #vacant(term) {
    const lead = await this.#store.lead();
    const moved = lead?.term !== this.#seen?.term || lead?.beat !== this.#seen?.beat;
    this.#seen = lead;
    if (moved) this.#since = now();
    if (!lead) return this.#store.claim(term);
    if (moved || now() - this.#since < this.#timings.lease) return false;
    if (await this.#alive()) {
      this.#since = now();
      return false;
    }
    return this.#store.claim(term, lead.term);
  }

  #pause() {
    const woken = new Promise((resolve) => (this.#wake = () => resolve(null)));
    return Promise.race([woken, sleep(this.#timings.beat)]);
  }

  /** The leader said goodbye: do not wait until that is seen. */
  hurry() {
    this.#wake();
  }

  /** Lead no more, and stand no more. */
  async leave() {
    this.#left = true;
    this.#wake();
    if (this.#term !== null) await this.#store.resign(this.#term).catch(() => {});
  }
}
