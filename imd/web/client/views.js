// @ts-check
/** What the application sees, made of what is stored. @module */

/** @import {Body, Log, Pending, Peer, Row, Upload} from "./types.js" */
/** @import {Summary} from "./store.js" */
/**
 * A message.  `seq` is null until it is acknowledged; `state` of mine is `uploading`,
 * `pending`, `failed` (`code` says why), `sent`, `delivered` or `read` (by all others), of others `received`.
 * @typedef {{conv: number, seq: number | null, id: string, from: number, at: number,
 *   kind: string, body: Body, mine: boolean, state: string, code?: string}} Message
 */
/**
 * A conversation.  `seq` is its last message; `unread` counts messages of others;
 * `delivered` and `read` are my cursors, `peerDelivered` and `peerRead` the other's.
 * @typedef {{conv: number, peer: {id: number, name: string, display?: string},
 *   last: Message | null, seq: number, unread: number, delivered: number, read: number,
 *   peerDelivered: number, peerRead: number, at: number}} Conversation
 */

/** How far a message of mine got. @param {number} seq @param {Peer[]} peers */
function progress(seq, peers) {
  if (peers.length && peers.every((peer) => peer.read >= seq)) return "read";
  if (peers.length && peers.every((peer) => peer.delivered >= seq)) return "delivered";
  return "sent";
}

/** @param {Row} row @param {Log | undefined} log @param {number} me @returns {Message} */
export function messageOf({ conv, seq, id, from, at, kind, body }, log, me) {
  const mine = from === me;
  const state = mine ? progress(seq, log?.peers ?? []) : "received";
  return { conv, seq, id, from, at, kind, body, mine, state };
}

/** @param {Omit<Pending, "order">} entry @param {Log | undefined} log @param {number} me
 * @returns {Message} */
export function pendingMessage({ conv, id, kind, body, since, seq, at, code }, log, me) {
  const base = { conv, id, from: me, kind, body, mine: true };
  if (code !== undefined) return { ...base, seq: null, at: since, state: "failed", code };
  if (seq === undefined) return { ...base, seq: null, at: since, state: "pending" };
  return { ...base, seq, at: at ?? since, state: progress(seq, log?.peers ?? []) };
}

/** @param {Upload} upload @param {number} me @returns {Message} */
export function uploadMessage({ conv, id, name, size, mime, text, since, code }, me) {
  const body = { name, size, mime, ...(text ? { text } : {}) };
  const message = { conv, seq: null, id, from: me, at: since, kind: "file", body, mine: true };
  return code === undefined ? { ...message, state: "uploading" } : { ...message, state: "failed", code };
}

/** @param {Summary} summary @param {number} me @param {Map<number, string>} displays
 * @returns {Conversation} */
export function conversationOf({ log, last, own, pending, upload }, me, displays) {
  const peer = log.peers[0] ?? { user: 0, name: "", delivered: 0, read: 0 };
  const display = displays.get(peer.user);
  const waiting = upload ? uploadMessage(upload, me) : pending && pendingMessage(pending, log, me);
  const shown = waiting ?? (last && messageOf(last, log, me));
  return {
    conv: log.id,
    peer: { id: peer.user, name: peer.name, ...(display ? { display } : {}) },
    last: shown,
    seq: log.known,
    unread: Math.max(0, log.known - log.read - own),
    delivered: log.delivered,
    read: log.read,
    peerDelivered: peer.delivered,
    peerRead: peer.read,
    at: shown?.at ?? 0,
  };
}
