// @ts-check
/** What was asked in this session, and until when the answer is waited for. @module */

/** @import {Frame} from "./types.js" */
/** @typedef {(frame: Frame) => void} Answer */

/** Numbers are never used twice, not even in another session. */
export class Requests {
  #last = 0;
  /** @type {Map<number, Answer>} */
  #answers = new Map();
  /** What the server owes us, and when it is overdue. @type {Map<number | string, number>} */
  #waits = new Map();

  /** A new number.  `answer` takes the frame that answers it; the server has until `due`.
   * @param {Answer | null} answer @param {number} [due] */
  begin(answer, due) {
    this.#last += 1;
    if (answer) this.#answers.set(this.#last, answer);
    if (due !== undefined) this.#waits.set(this.#last, due);
    return this.#last;
  }

  /** Hand the answer over; false if nobody asked. @param {Frame} frame */
  answer(frame) {
    const answer = this.#answers.get(frame.req);
    this.#waits.delete(frame.req);
    this.#answers.delete(frame.req);
    answer?.(frame);
    return answer !== undefined;
  }

  /** Something else is owed until `due`, or already was until earlier.
   * @param {string} what @param {number} due */
  expect(what, due) {
    this.#waits.set(what, Math.min(this.#waits.get(what) ?? due, due));
  }

  /** It has come. @param {string | number} what */
  came(what) {
    return this.#waits.delete(what);
  }

  /** @returns {number[]} */
  get deadlines() {
    return [...this.#waits.values()];
  }

  /** Something is overdue. @param {number} now */
  overdue(now) {
    return this.deadlines.some((due) => now >= due);
  }

  /** Nothing will be answered any more. */
  lost() {
    this.#answers.clear();
    this.#waits.clear();
  }
}
