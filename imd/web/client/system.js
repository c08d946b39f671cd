// @ts-check
/** The world around a client: time, chance, ids.  Only here are they asked for. @module */

/** Monotonic seconds. */
export function now() {
  return performance.now() / 1000;
}

/** The time of day, ms since the epoch. */
export function wall() {
  return Date.now();
}

/** A number in [0, 1), to spread reconnects. */
export function chance() {
  return Math.random();
}

/**
 * A UUID of version 7 (RFC 9562 §5.7): time first, so that ids of one device sort.  Made by
 * hand, since `crypto.randomUUID` is missing on plain http.
 */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const ms = wall();
  for (let i = 0; i < 6; i++) bytes[i] = Math.floor(ms / 2 ** (40 - 8 * i)) % 256;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The longest that `setTimeout` can wait; beyond it the browser does not wait at all. */
const LONGEST = 2 ** 31 - 1;

/** Calls `work` once for every `start`; a later `start` replaces an earlier one. */
export class Timer {
  /** @param {() => void} work */
  constructor(work) {
    this.#work = work;
  }

  #work;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timeout;

  /** Make the call after `delay` seconds. @param {number} delay */
  start(delay) {
    clearTimeout(this.#timeout);
    this.#timeout = setTimeout(this.#work, Math.min(Math.max(0, delay * 1000), LONGEST));
  }

  /** Do not make the call. */
  cancel() {
    clearTimeout(this.#timeout);
  }
}

/** Wait. @param {number} seconds @returns {Promise<void>} */
export function sleep(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** Where the files of a server are. @param {string} url of its WebSocket @param {string} path */
export function addressOf(url, path) {
  return new URL(path, url.replace(/^ws/, "http")).href;
}
