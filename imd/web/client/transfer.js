// @ts-check
/** HTTP beside the WebSocket: the bytes of files (protocol, "Files").  @module */

import { ImdError } from "./errors.js";
import { Timer } from "./system.js";

/** Bytes that one request brings; as many make a part where the server's store is S3. */
export const PIECE = 5 << 20;
/** Statuses after which the same request may succeed. */
const PASSING = new Set([0, 401, 408, 409, 429, 500, 502, 503, 504]);
/** @type {Record<number, string>} */
const CODES = { 404: "not_found", 413: "too_large", 507: "full" };

/** It did not work this time; `after`: seconds that the server wants to be left alone. */
export class Passing extends Error {
  /** @param {string} why @param {number} [after] */
  constructor(why, after = 0) {
    super(why);
    this.after = after;
  }
}

/** @typedef {{url: string, token: string, signal: AbortSignal, stall: number}} Way */

/** How many bytes are there. @param {Way} way @returns {Promise<number>} */
export async function offsetOf(way) {
  return offset(await ask("HEAD", way, {}, null, () => {}));
}

/** Bring bytes that belong at `at`; how many are there then.
 * @param {Way} way @param {number} at @param {Blob} piece @param {(sent: number) => void} heard
 * @returns {Promise<number>} @throws {ImdError | Passing} */
export async function bring(way, at, piece, heard) {
  const headers = {
    "Content-Type": "application/offset+octet-stream",
    "Tus-Resumable": "1.0.0",
    "Upload-Offset": String(at),
  };
  return offset(await ask("PATCH", way, headers, piece, heard));
}

/** @param {XMLHttpRequest} request */
function offset(request) {
  const told = Number(request.getResponseHeader("Upload-Offset") ?? NaN);
  if (!Number.isSafeInteger(told)) throw new ImdError("bad_request", "no Upload-Offset");
  return told;
}

/** Only XMLHttpRequest tells how far a body has got.
 * @param {string} method @param {Way} way @param {Record<string, string>} headers
 * @param {Blob | null} body @param {(sent: number) => void} heard
 * @returns {Promise<XMLHttpRequest>} */
function ask(method, { url, token, signal, stall }, headers, body, heard) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const patience = new Timer(abort);
    request.open(method, url);
    for (const [name, value] of Object.entries({ ...headers, Authorization: `Bearer ${token}` }))
      request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => {
      patience.start(stall);
      heard(loaded);
    };
    request.onloadend = () => {
      patience.cancel();
      signal.removeEventListener("abort", abort);
      const error = signal.aborted ? signal.reason : refusal(request);
      if (error) reject(error);
      else resolve(request);
    };
    signal.addEventListener("abort", abort);
    patience.start(stall);
    request.send(body);
  });
}

/** @param {XMLHttpRequest} request @returns {Error | null} */
function refusal(request) {
  const { status } = request;
  if (status >= 200 && status < 300) return null;
  if (PASSING.has(status))
    return new Passing(`status ${status}`, Number(request.getResponseHeader("Retry-After")) || 0);
  return new ImdError(CODES[status] ?? "bad_request", `status ${status}`);
}
