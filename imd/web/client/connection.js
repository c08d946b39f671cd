// @ts-check
/** One WebSocket to the server: text on one side, frames on the other. @module */

import { decode } from "./incoming.js";

/** @import {Frame} from "./types.js" */
/**
 * Whoever uses a connection.
 * @typedef {{opened(): void, received(frames: Frame[]): void,
 *   closed(code: number | null, reason: string): void}} Owner
 */

const SUBPROTOCOL = "imd.v1.json";
/** What a browser reports when there was no close frame. */
const NO_CLOSE = new Set([1005, 1006, 1015]);
const UTF8 = new TextEncoder();

/** Calls its owner back until `closed`, which comes once. */
export class Connection {
  /** @param {string} url @param {Owner} owner @throws {DOMException} for a url that is none */
  constructor(url, owner) {
    this.#owner = owner;
    const socket = (this.#socket = new WebSocket(url, SUBPROTOCOL));
    socket.onopen = () => owner.opened();
    socket.onmessage = ({ data }) => this.#message(data);
    socket.onclose = ({ code, reason }) => this.#closed(NO_CLOSE.has(code) ? null : code, reason);
  }

  #socket;
  /** @type {Owner | null} */
  #owner;

  /** @param {unknown} data */
  #message(data) {
    let frames;
    try {
      frames = decode(data);
    } catch {
      this.abort("the server sent something that is not JSON");
      return;
    }
    this.#owner?.received(frames);
  }

  /** @param {number | null} code @param {string} reason */
  #closed(code, reason) {
    const owner = this.#owner;
    this.#owner = null;
    owner?.closed(code, reason);
  }

  /** Send frames in messages of at most `most` frames and `largest` bytes.
   * @param {Frame[]} frames @param {number} most @param {number} largest */
  transmit(frames, most, largest) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    for (const message of packed(frames, most, largest)) this.#socket.send(message);
  }

  /** Close without waiting for the server, which may be out of reach.
   * @param {string} reason */
  abort(reason) {
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
    this.#closed(null, reason);
  }

  /** Close, and call nobody back. */
  finish() {
    this.#owner = null;
    this.abort("");
  }
}

/** @param {Frame[]} frames @param {number} most @param {number} largest */
export function packed(frames, most, largest) {
  /** @type {string[]} */
  const messages = [];
  /** @type {string[]} */
  let batch = [];
  let size = 1;
  for (const text of frames.map((frame) => JSON.stringify(frame))) {
    const bytes = UTF8.encode(text).length + 1;
    if (batch.length && (batch.length >= most || size + bytes > largest)) {
      messages.push(joined(batch));
      batch = [];
      size = 1;
    }
    batch.push(text);
    size += bytes;
  }
  if (batch.length) messages.push(joined(batch));
  return messages;
}

/** @param {string[]} batch */
function joined(batch) {
  return batch.length === 1 ? batch[0] : `[${batch.join(",")}]`;
}
