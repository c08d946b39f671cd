// @ts-check
/** Getting in, and getting back in: credentials, and R9 of protocol §5. @module */

/** @import {Frame, Login, Notice, Timings} from "./types.js" */

/** From this power on the delay is the longest one; further counting would only overflow. */
const ATTEMPTS = 64;
/** Seconds to stay away after 4006, if the server did not say how long. */
const ABUSIVE = 30;

/** Says with what to knock, and after a refusal whether and when to knock again. */
export class Entrance {
  /** `token` is the one that was kept from an earlier login.
   * @param {Login} login @param {string | null} token @param {Timings} timings */
  constructor(login, token, timings) {
    this.#login = login;
    this.token = token;
    this.#timings = timings;
  }

  #login;
  #timings;
  #attempts = 0;
  #hellos = 0;
  #admitted = false;

  /** The first frame of a session.
   * @param {number} req @param {string | null} since @param {number} tail @returns {Frame} */
  hello(req, since, tail) {
    this.#admitted = false;
    this.#hellos += 1;
    /** @type {Frame} */
    const hello = { type: "hello", req, tail };
    if (since !== null) hello.since = since;
    if (this.#login.agent) hello.agent = this.#login.agent;
    if (this.token !== null) return { ...hello, token: this.token };
    const { user = "", password = "", device = "web", register } = this.#login;
    return { ...hello, user, password, device, ...(register ? { register: true } : {}) };
  }

  /** The server said welcome; a login by password came with a `token`.
   * @param {string | undefined} token */
  admitted(token) {
    this.#admitted = true;
    this.token = token ?? this.token;
  }

  /** A session came as far as being useful: delays begin anew. */
  succeeded() {
    this.#attempts = 0;
  }

  /**
   * R9: what to do after a connection has ended with `code` (null: without a close).
   * `error` is what the server answered to `hello`, and `retry` the ms it said in `bye`; that
   * overrides the delay, but not a code that forbids to come back.
   * @param {number | null} code @param {string} reason @param {number | null} retry
   * @param {Frame | null} error @param {number} random  in [0, 1)
   * @returns {Notice}
   */
  next(code, reason, retry, error, random) {
    const name = error === null ? "" : error.code;
    if (code !== null && code >= 4500 && code <= 4999) {
      if (!this.#admitted && this.#made(name)) return this.#again(0, code, "", reason);
      return { type: "stop", close: code, code: name, reason: error?.message || reason };
    }
    const { backoffBase, backoffLongest } = this.#timings;
    let delay = Math.min(backoffLongest, backoffBase ** this.#attempts) * random;
    if (code === 4006) delay = Math.max(delay, ABUSIVE);
    this.#attempts = Math.min(this.#attempts + 1, ATTEMPTS);
    return this.#again(retry === null ? delay : retry / 1000, code, name, reason);
  }

  /** @param {number} after @param {number | null} code @param {string} error
   * @param {string} reason @returns {Notice} */
  #again(after, code, error, reason) {
    return { type: "reconnect", after, code, error, reason };
  }

  /** Whether an earlier attempt, whose answer was lost, may have made the account.
   * @param {string} error */
  #made(error) {
    if (!this.#login.register || error !== "exists" || this.#hellos < 2) return false;
    this.#login = { ...this.#login, register: false };
    return true;
  }
}
