// @ts-check
/**
 * The shapes that the modules share.  Ids are positive integers below 2**53, `seq` counts the
 * messages of a conversation from 1, times named `at` and `since` are ms since the epoch.
 * @module
 */

/** @typedef {{conv: number, seq: number, id: string, from: number, device: number, at: number, kind: string, body: Body}} Row  A stored message of the log. */
/** @typedef {Record<string, any>} Body */
/**
 * A message of mine that is not in the log here.  `order` is its place in the outbox.  With
 * `seq` it is acknowledged, but what comes before it is missing; with `code` it was refused.
 * @typedef {{order: number, id: string, conv: number, kind: string, body: Body, since: number, seq?: number, at?: number, code?: string}} Pending
 */
/**
 * A file of mine that is not at the server yet; its bytes are stored beside it.  With `file` and
 * `put` the server expects it there, with `code` it was refused.
 * @typedef {{order: number, id: string, conv: number, name: string, size: number, mime: string,
 *   since: number, text?: string, sha256?: string, file?: number, put?: string,
 *   code?: string}} Upload
 */
/** @typedef {{user: number, name: string, delivered: number, read: number}} Peer */
/**
 * The state of a conversation here.  From `base` (exclusive) to `have` (inclusive) everything
 * was stored or has expired; `known` is the newest seq heard of, `floor` the oldest that the
 * server has.  `delivered` and `read` are what the server should know of me, `told…` what it
 * does know.
 * @typedef {{id: number, kind: string, base: number, have: number, known: number, floor: number, delivered: number, read: number, toldDelivered: number, toldRead: number, peers: Peer[]}} Log
 */
/** @typedef {{inflight: number, text_bytes: number, file_bytes: number, frame_bytes: number, batch: number}} Limits */
/**
 * Who is logged in.  `since` is valid together with `epoch` only; `token` is a credential.
 * @typedef {{user: number, name: string, device: number, token: string | null, epoch: string, since: string | null, roster: number, limits: Limits | null}} Account
 */
/** @typedef {{account: Account, conversations: Log[], outbox: Pending[]}} Saved */
/** @typedef {{user?: string, password?: string, register?: boolean, device?: string, agent?: string}} Login */

/**
 * What the rules want stored.
 * @typedef {{type: "message", row: Row}
 *   | {type: "tail", conv: number, above: number}
 *   | {type: "conversation", log: Log}
 *   | {type: "pending", entry: Pending}
 *   | {type: "settled", order: number}
 *   | {type: "account", account: Account}} Write
 */
/**
 * What the rules want told.
 * @typedef {{type: "welcomed", account: Account}
 *   | {type: "synced"}
 *   | {type: "deliver", row: Row}
 *   | {type: "withdrawn", conv: number, above: number}
 *   | {type: "acked", id: string, conv: number, seq: number, at: number, kind: string, body: Body}
 *   | {type: "refused", entry: Pending, code: string, message: string}
 *   | {type: "receipt", conv: number, user: number, delivered: number, read: number}
 *   | {type: "answered", req: number, frame: any}
 *   | {type: "hinted", name: string, data: any}
 *   | {type: "rows", ticket: number, conv: number, above: number}
 *   | {type: "hangup", reason: string}
 *   | {type: "reconnect", after: number, code: number | null, error: string, reason: string}
 *   | {type: "stop", close: number, code: string, reason: string}} Notice
 */
/** @typedef {any} Frame  A frame of the wire; see protocol §3. */

/** Perform it in the order of its parts: commit `writes`, send `frames`, tell `notices`. */
export class Turn {
  constructor() {
    /** @type {Write[]} */
    this.writes = [];
    /** @type {Frame[]} */
    this.frames = [];
    /** @type {Notice[]} */
    this.notices = [];
  }

  /** Nothing is to be done. */
  get empty() {
    return !(this.writes.length || this.frames.length || this.notices.length);
  }
}

/** Nobody. @type {Readonly<Account>} */
export const NOBODY = Object.freeze({
  user: 0,
  name: "",
  device: 0,
  token: null,
  epoch: "",
  since: null,
  roster: 0,
  limits: null,
});

/** Seconds, unless named otherwise; see docs/javascript.rst. */
export const TIMINGS = Object.freeze({
  /** No `ack` for so long: the session is taken for dead (R2). */
  ack: 20,
  /** How long the server may take for a `welcome`, a `pong` or a fetch. */
  answer: 20,
  /** Without a page of heads: reading them may have to wait for other clients. */
  heads: 60,
  /** For a `pong` when there is a reason to doubt the connection. */
  check: 5,
  /** A hole in the log that lasts so long is fetched (R3). */
  gap: 0.3,
  /** How long to wait after the server refused a fetch, or had nothing to give. */
  retry: 1,
  /** Marks wait so long for others of the same conversation (R7). */
  mark: 0.2,
  /** R9: the delay before attempt n is at most base**n, and at most the longest. */
  backoffBase: 1.7,
  backoffLongest: 60,
  /** For an attempt to connect; for all that belongs to a login; for a logout. */
  connect: 20,
  login: 30,
  logout: 3,
  /** An upload that does not get further for so long is tried again. */
  stall: 30,
  /** After the browser's database failed. */
  storage: 5,
  /** The leading tab shows so often that it lives, where there are no locks … */
  beat: 2,
  /** … and is taken for dead after so long. */
  lease: 6,
  /** An entry of the outbox may wait so long: the server forgets ids after more than that. */
  expires: 7 * 86400,
});
/** @typedef {{[name in keyof typeof TIMINGS]: number}} Timings */
