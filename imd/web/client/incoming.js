// @ts-check
/** Server frames out of text.  What we do not know, or cannot be, is skipped. @module */

/** @import {Frame} from "./types.js" */
/** @typedef {(value: any) => boolean} Check */

/** @type {Check} */
const whole = (value) => Number.isSafeInteger(value);
/** @type {Check} */
const seq = (value) => whole(value) && value >= 0;
/** @type {Check} */
const id = (value) => whole(value) && value > 0;
/** @type {Check} */
const text = (value) => typeof value === "string";
/** @type {Check} */
const flag = (value) => typeof value === "boolean";
/** @type {Check} */
const object = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** @type {Check} */
const req = (value) => whole(value) || text(value);
/** @type {Check} */
const anything = (value) => value !== undefined;
/** @param {Check} check @returns {Check} */
const maybe = (check) => (value) => value === undefined || check(value);
/** @param {Check} check @returns {Check} */
const list = (check) => (value) => Array.isArray(value) && value.every(check);
/** @param {Record<string, Check>} fields @returns {Check} */
const shape = (fields) => {
  const checks = Object.entries(fields);
  return (value) => object(value) && checks.every(([name, check]) => check(value[name]));
};

const ITEM = { seq: id, from: id, device: id, id: text, at: seq, kind: text, body: object };
const PEER = { user: id, name: text, delivered: seq, read: seq };
const LIMITS = { inflight: id, text_bytes: id, file_bytes: seq, frame_bytes: id, batch: id };
const HEAD = {
  conv: id,
  kind: text,
  last: seq,
  floor: seq,
  delivered: seq,
  read: seq,
  peers: list(shape(PEER)),
};

/** @type {Map<string, Check>} */
const FRAMES = new Map(
  Object.entries({
    welcome: shape({
      req,
      user: shape({ id, name: text }),
      device: id,
      session: whole,
      epoch: text,
      now: seq,
      heartbeat: id,
      limits: shape(LIMITS),
      roster: whole,
      token: maybe(text),
    }),
    ack: shape({ id: text, conv: id, seq: id, at: seq }),
    nack: shape({ id: text, code: text, message: maybe(text) }),
    msg: shape({ conv: id, ...ITEM }),
    msgs: shape({ req, conv: id, items: list(shape(ITEM)), floor: seq, more: flag }),
    heads: shape({ req, items: list(shape(HEAD)), done: flag, next: maybe(text) }),
    head: shape({ conv: id, last: seq }),
    receipt: shape({ conv: id, user: id, delivered: seq, read: seq }),
    result: shape({ req, data: anything }),
    error: shape({ code: text, message: maybe(text), req: maybe(req) }),
    event: shape({ name: text, data: anything }),
    pong: shape({ n: whole, now: seq, since: maybe(text) }),
    bye: shape({ code: whole, retry: seq }),
  }),
);

/**
 * Decode one message of the server.
 * @param {unknown} data @returns {Frame[]}
 * @throws {SyntaxError} what came is not JSON
 */
export function decode(data) {
  if (typeof data !== "string") throw new SyntaxError("not text");
  const message = JSON.parse(data);
  const frames = Array.isArray(message) ? message : [message];
  return frames.filter((frame) => object(frame) && (FRAMES.get(frame.type)?.(frame) ?? false));
}
