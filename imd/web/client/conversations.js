// @ts-check
/** The logs of the conversations, without holes and without repeats (R3, R4, R7, R8 of §5). @module */

import { Holes } from "./holes.js";
import { Marks } from "./marks.js";

/** @import {Frame, Log, Peer, Row, Timings, Turn} from "./types.js" */

/** Rows kept while what comes before them is missing, in each conversation (R3). */
const BUFFER = 200;

/** All conversations of the user, and what has to be fetched or marked in them. */
export class Conversations {
  /** `own` tells of an id whether it is in the outbox.
   * @param {Log[]} saved @param {Timings} timings @param {(id: string) => boolean} own */
  constructor(saved, timings, own) {
    this.#timings = timings;
    this.#own = own;
    this.#all = new Map(saved.map((log) => [log.id, { ...log }]));
    this.marks = new Marks(timings.mark);
    for (const log of this.#all.values()) this.holes.look(log);
  }

  #timings;
  #own;
  #all;
  me = 0;
  /** Conversations that take no messages now: their log is being compared (R6).
   * @type {Set<number>} */
  frozen = new Set();
  /** @type {Map<number, Map<number, Row>>} */
  #buffers = new Map();
  holes = new Holes();
  /** Changed since they were written. @type {Set<number>} */
  #dirty = new Set();

  /** Every conversation by id; to be read, not changed. @returns {ReadonlyMap<number, Log>} */
  get all() {
    return this.#all;
  }

  /** @param {number} conv */
  has(conv) {
    return this.#all.has(conv);
  }

  /** One that is there. @param {number} conv @returns {Log} */
  log(conv) {
    return /** @type {Log} */ (this.#all.get(conv));
  }

  /** When a hole has lasted long enough, or marks are due. @returns {number[]} */
  get deadlines() {
    return [this.holes.due, this.marks.due].filter((due) => due !== null);
  }

  // -- messages

  /** R3: a message of a known conversation, from wherever it comes.
   * @param {Turn} turn @param {Row} row @param {number} now */
  message(turn, row, now) {
    const mine = this.log(row.conv);
    this.#heard(mine, row.seq);
    if (row.seq <= mine.have) return;
    if (row.seq === mine.have + 1 && !this.frozen.has(mine.id)) {
      this.#append(turn, mine, row);
      this.#drain(turn, mine);
      return;
    }
    const buffer = this.#buffers.get(mine.id) ?? new Map();
    this.#buffers.set(mine.id, buffer);
    if (buffer.size < BUFFER) buffer.set(row.seq, row);
    this.holes.behind(mine, now + this.#timings.gap);
  }

  /** @param {Log} mine @param {number} seq */
  #heard(mine, seq) {
    if (seq <= mine.known) return;
    mine.known = seq;
    this.#dirty.add(mine.id);
  }

  /** @param {Turn} turn @param {Log} mine @param {Row} row */
  #append(turn, mine, row) {
    mine.have = row.seq;
    this.#dirty.add(mine.id);
    turn.writes.push({ type: "message", row });
    if (row.from !== this.me) {
      // R7: this turn stores it before it marks it.  My own need no mark: the next one of the
      // others will cover them.
      mine.delivered = Math.max(mine.delivered, row.seq);
      this.#owe(mine);
      turn.notices.push({ type: "deliver", row });
    } else if (!this.#own(row.id)) {
      turn.notices.push({ type: "deliver", row });
    }
  }

  /** Take what was waiting for `have` to come this far; forget what is done with.
   * @param {Turn} turn @param {Log} mine */
  #drain(turn, mine) {
    const buffer = this.#buffers.get(mine.id);
    for (let row; (row = buffer?.get(mine.have + 1)); ) {
      buffer?.delete(row.seq);
      this.#append(turn, mine, row);
    }
    if (mine.known > mine.have) return;
    this.#buffers.delete(mine.id);
    this.holes.filled(mine);
  }

  // -- holes

  /** R4: the server says that there is something up to `last`.
   * @param {number} conv @param {number} last */
  poke(conv, last) {
    const mine = this.log(conv);
    this.#heard(mine, last);
    if (mine.known > mine.have) this.holes.want(mine);
  }

  /** Messages that came along with the heads; R4: if they do not reach `have`, fetch.
   * @param {Turn} turn @param {Frame} frame @param {number} now */
  tail(turn, frame, now) {
    const mine = this.#run(turn, frame, now);
    if (mine.known > mine.have) this.holes.want(mine);
  }

  /** R4: the answer to a fetch of ours; go on until `have` is `known`.
   * @param {Turn} turn @param {Frame} frame @param {number} now */
  fetched(turn, frame, now) {
    const before = this.log(frame.conv).have;
    this.holes.answered(frame.conv);
    const mine = this.#run(turn, frame, now);
    if (mine.known <= mine.have) return;
    if (mine.have > before) this.holes.want(mine);
    else if (frame.more) this.holes.behind(mine, now + this.#timings.retry);
    else this.#nothingThere(mine, now);
  }

  /** @param {Turn} turn @param {Frame} frame @param {number} now */
  #run(turn, frame, now) {
    const mine = this.log(frame.conv);
    this.floor(turn, mine, frame.floor);
    for (const item of frame.items) this.message(turn, rowOf(mine.id, item), now);
    return mine;
  }

  /** The log was read, and ends at `have`: what we had heard was more than there is.
   * @param {Log} mine @param {number} now */
  #nothingThere(mine, now) {
    mine.known = Math.max(mine.have, ...(this.#buffers.get(mine.id)?.keys() ?? []));
    this.#dirty.add(mine.id);
    if (mine.known > mine.have) this.holes.behind(mine, now + this.#timings.retry);
  }

  /** The server refused our fetch; `again` tells whether it may change its mind.
   * @param {number} conv @param {boolean} again @param {number} now */
  fetchFailed(conv, again, now) {
    this.holes.answered(conv);
    const mine = this.log(conv);
    if (again) {
      this.holes.behind(mine, now + this.#timings.retry);
    } else {
      mine.known = mine.have;
      this.#dirty.add(conv);
      this.#buffers.delete(conv);
    }
  }

  /** R4: below `floor` the history has expired, and nobody will ever get it.
   * @param {Turn} turn @param {Log} mine @param {number} floor */
  floor(turn, mine, floor) {
    if (floor <= mine.floor && floor <= mine.have + 1) return;
    mine.floor = Math.max(mine.floor, floor);
    this.#dirty.add(mine.id);
    if (floor <= mine.have + 1 || this.frozen.has(mine.id)) return;
    mine.have = floor - 1;
    mine.known = Math.max(mine.known, mine.have);
    const buffer = this.#buffers.get(mine.id) ?? new Map();
    for (const seq of [...buffer.keys()]) if (seq <= mine.have) buffer.delete(seq);
    this.#drain(turn, mine);
  }

  // -- history

  /** The answer to a look. @param {Turn} turn @param {Frame} frame */
  looked(turn, frame) {
    this.holes.answered(frame.conv);
    this.older(turn, frame);
    const mine = this.log(frame.conv);
    if (mine.known > mine.have) this.holes.want(mine);
  }

  /** R8: history that ends where ours begins is stored in front of it.
   * @param {Turn} turn @param {Frame} frame */
  older(turn, frame) {
    const mine = this.#all.get(frame.conv);
    if (!mine || this.frozen.has(mine.id)) return;
    this.floor(turn, mine, frame.floor);
    if (frame.items.at(-1)?.seq !== mine.base) return;
    for (const item of frame.items)
      turn.writes.push({ type: "message", row: rowOf(mine.id, item) });
    mine.base = frame.items[0].seq - 1;
    this.#dirty.add(mine.id);
  }

  // -- heads and receipts

  /** R4: what the server says of a conversation; R8 if it is the first time.
   * `restored`: it may have lost something since, so its word replaces ours.
   * @param {Turn} turn @param {Frame} item @param {boolean} restored */
  head(turn, item, restored) {
    const mine = this.#all.get(item.conv) ?? this.#begin(item);
    mine.kind = item.kind;
    mine.known = restored ? item.last : Math.max(mine.known, item.last);
    this.#dirty.add(mine.id);
    this.floor(turn, mine, item.floor);
    this.#myCursors(turn, mine, item, restored);
    const old = new Map(restored ? [] : mine.peers.map((peer) => [peer.user, peer]));
    mine.peers = item.peers.map((/** @type {Peer} */ peer) =>
      this.#merge(turn, mine, { ...(old.get(peer.user) ?? NO_CURSORS), ...named(peer) }, peer),
    );
  }

  /** R8: nothing below my `delivered` was missed; the rest is history to ask for.
   * @param {Frame} item @returns {Log} */
  #begin({ conv, kind, floor, delivered, read }) {
    const base = Math.max(delivered, floor - 1);
    const told = { toldDelivered: 0, toldRead: 0 };
    const span = { base, have: base, known: base, floor };
    const mine = { id: conv, kind, ...span, delivered, read, ...told, peers: [] };
    this.#all.set(conv, mine);
    this.holes.look(mine);
    return mine;
  }

  /** R7: note what the server knows of me, and tell it again where it is behind.
   * @param {Turn} turn @param {Log} mine @param {{delivered: number, read: number}} cursors
   * @param {boolean} [restored] */
  #myCursors(turn, mine, { delivered, read }, restored = false) {
    mine.toldDelivered = restored ? delivered : Math.max(delivered, mine.toldDelivered);
    mine.toldRead = restored ? read : Math.max(read, mine.toldRead);
    this.#dirty.add(mine.id);
    if (read > mine.read) {
      mine.read = read;
      turn.notices.push({ type: "receipt", conv: mine.id, user: this.me, delivered, read });
    }
    this.#owe(mine);
  }

  /** Cursors only grow (protocol §6); whoever did grow is reported.
   * @param {Turn} turn @param {Log} mine @param {Peer} old
   * @param {{delivered: number, read: number}} cursors @returns {Peer} */
  #merge(turn, mine, old, cursors) {
    const delivered = Math.max(old.delivered, cursors.delivered);
    const read = Math.max(old.read, cursors.read);
    if (delivered !== old.delivered || read !== old.read)
      turn.notices.push({ type: "receipt", conv: mine.id, user: old.user, delivered, read });
    return { ...old, delivered, read };
  }

  /** A member's cursors; false if we do not know that member.
   * @param {Turn} turn @param {Frame} frame */
  receipt(turn, frame) {
    const mine = this.log(frame.conv);
    if (frame.user === this.me) {
      this.#myCursors(turn, mine, frame);
      return true;
    }
    const at = mine.peers.findIndex((peer) => peer.user === frame.user);
    if (at < 0) return false;
    mine.peers = mine.peers.with(at, this.#merge(turn, mine, mine.peers[at], frame));
    this.#dirty.add(mine.id);
    return true;
  }

  /** R7: everything up to `seq` was displayed to the user.
   * @param {number} conv @param {number} seq */
  displayed(conv, seq) {
    const mine = this.log(conv);
    const upto = Math.min(seq, mine.have);
    if (upto <= mine.read) return;
    mine.read = upto;
    mine.delivered = Math.max(mine.delivered, upto);
    this.#dirty.add(conv);
    this.#owe(mine);
  }

  /** @param {Log} mine */
  #owe(mine) {
    if (!this.frozen.has(mine.id)) this.marks.owe(mine);
  }

  // -- sessions

  /** The session is gone, and with it whatever had not been stored. */
  lost() {
    this.#buffers.clear();
    this.holes.lost();
    this.marks.lost();
    this.frozen.clear();
  }

  /** R4 and R7 after the heads: fetch what is missing, tell what the server missed.
   * `due` is when messages that come along with the heads should have come.
   * @param {number} due */
  synced(due) {
    for (const mine of this.#all.values()) {
      this.#owe(mine);
      if (mine.known > mine.have) this.holes.behind(mine, due);
    }
  }

  /** R6: the log of the server differs from ours above `above`.
   * @param {Log} mine @param {number} above */
  cut(mine, above) {
    for (const field of /** @type {const} */ (["base", "have", "delivered", "read"]))
      mine[field] = Math.min(mine[field], above);
    this.#dirty.add(mine.id);
  }

  /** R6: the log was compared; what waited for that may go in.
   * @param {Turn} turn @param {Log} mine */
  thaw(turn, mine) {
    this.frozen.delete(mine.id);
    this.floor(turn, mine, mine.floor);
    this.#drain(turn, mine);
    this.#owe(mine);
    if (mine.known > mine.have) this.holes.want(mine);
  }

  /** Write what has changed: always before, or with, a newer sync token (R6).
   * @param {Turn} turn */
  save(turn) {
    for (const conv of this.#dirty)
      turn.writes.push({ type: "conversation", log: { ...this.log(conv) } });
    this.#dirty.clear();
  }
}

const NO_CURSORS = { delivered: 0, read: 0 };

/** @param {Peer} peer */
function named({ user, name }) {
  return { user, name };
}

/** The row in a frame. @param {number} conv @param {Frame} item @returns {Row} */
export function rowOf(conv, { seq, id, from, device, at, kind, body }) {
  return { conv, seq, id, from, device, at, kind, body };
}
