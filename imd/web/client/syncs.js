// @ts-check
/** Which sync is under way, and whether another has to follow (R4 of protocol §5). @module */

/** The syncs of one session; at most one at a time. */
export class Syncs {
  /** @type {number | null} */
  req = null;
  #full = false;
  #again = false;
  /** @type {Set<number>} */
  #missing = new Set();
  /** @type {Set<number>} */
  #ignored = new Set();

  /** Request `req` asks for all heads (`full`), or for those that changed.
   * @param {number} req @param {boolean} full */
  begin(req, full) {
    this.req = req;
    this.#full = full;
  }

  /** There is a reason for a sync: may it begin?  If not, it will follow the present one. */
  wanted() {
    this.#again = this.req !== null;
    return !this.#again;
  }

  /** Somebody spoke of a conversation that we have not heard of: may a sync begin?
   * @param {number} conv */
  unknown(conv) {
    if (this.#ignored.has(conv)) return false;
    this.#missing.add(conv);
    return this.wanted();
  }

  /**
   * All heads have come.  Does another sync follow, and if so, a full one?  What was missing
   * among changed heads is looked for among all; what is missing there is none of ours.
   * @param {{has(conv: number): boolean}} known @returns {boolean | null}
   */
  finished(known) {
    this.req = null;
    this.#missing = new Set([...this.#missing].filter((conv) => !known.has(conv)));
    if (this.#full) {
      for (const conv of this.#missing) this.#ignored.add(conv);
      this.#missing.clear();
    }
    const again = this.#again;
    this.#again = false;
    if (this.#missing.size) return true;
    return again ? false : null;
  }
}
