// @ts-check
/** Requests of the application that wait for the server's answer. @module */

import { ImdError } from "./errors.js";

/** @import {Frame} from "./types.js" */

/** Requests at work at once; the server takes 8, some of which repair the log. */
const CALLS = 4;

/** @typedef {{begin(): number, resolve(frame: Frame): void, reject(error: ImdError): void}} Call */

/** The requests of one session. */
export class Calls {
  /** @type {Call[]} */
  #waiting = [];
  /** @type {Map<number, Call>} */
  #asked = new Map();

  /** Ask as soon as it is this request's turn; `begin` sends it and returns its number.
   * @param {() => number} begin @returns {Promise<Frame>} */
  ask(begin) {
    return new Promise((resolve, reject) => this.#waiting.push({ begin, resolve, reject }));
  }

  /** Send what may be sent. */
  flow() {
    while (this.#asked.size < CALLS) {
      const call = this.#waiting.shift();
      if (!call) return;
      this.#asked.set(call.begin(), call);
    }
  }

  /** @param {Frame} frame */
  answered(frame) {
    const call = this.#asked.get(frame.req);
    this.#asked.delete(frame.req);
    if (frame.type === "error") call?.reject(new ImdError(frame.code, frame.message));
    else call?.resolve(frame);
    this.flow();
  }

  /** The session is gone: what was asked is answered never, and what waits not now. */
  lost() {
    const calls = [...this.#asked.values(), ...this.#waiting];
    this.#asked.clear();
    this.#waiting = [];
    for (const call of calls)
      call.reject(new ImdError("offline", "the connection ended before the answer came"));
  }
}
