// @ts-check
/**
 * What to do when the server's database was restored or failed over: the second half of R6.
 *
 * A new `epoch` means that acknowledged messages may be gone and their seqs used again.  Every
 * conversation is compared with the server's log, from the top of ours downwards, until an id
 * agrees: logs only grow at the end, so everything below agrees as well.  What we hold above
 * that point is dropped, and what I myself had sent there is sent again.
 * @module
 */

/** @import {Conversations} from "./conversations.js" */
/** @import {Outbox} from "./outbox.js" */
/** @import {Frame, Row, Turn} from "./types.js" */
/** @typedef {(conv: number, before: number) => void} Fetch */

/** The conversations whose logs are being compared with those of the server. */
export class Comparison {
  /** @param {Conversations} conversations @param {Outbox} outbox */
  constructor(conversations, outbox) {
    this.#conversations = conversations;
    this.#outbox = outbox;
  }

  #conversations;
  #outbox;
  /** @type {Set<number>} */
  #started = new Set();
  /** Pieces of the server's log that wait for ours. @type {Map<number, Frame>} */
  #pieces = new Map();
  #ticket = 0;

  /** Some log was not compared yet. */
  get busy() {
    return this.#conversations.frozen.size > 0;
  }

  /** Every log is in doubt: none takes messages, and nothing is sent, until compared. */
  begin() {
    this.#started.clear();
    this.#pieces.clear();
    const logs = [...this.#conversations.all.values()];
    this.#conversations.frozen = new Set(logs.filter((log) => log.have).map((log) => log.id));
    this.#outbox.doubt();
    this.#outbox.hold(this.busy);
  }

  /** The session is gone; the next one begins again, since the epoch is still new. */
  lost() {
    this.#pieces.clear();
    this.#outbox.hold(false);
  }

  /** The server told how long its log is: compare from the end of the shorter one.
   * @param {Frame} item @param {Fetch} fetch */
  head(item, fetch) {
    if (!this.#conversations.frozen.has(item.conv) || this.#started.has(item.conv)) return;
    this.#started.add(item.conv);
    const { have } = this.#conversations.log(item.conv);
    fetch(item.conv, Math.min(have, item.last) + 1);
  }

  /** All heads have come: conversations without one are no longer mine to compare.
   * @param {Turn} turn */
  leave(turn) {
    for (const conv of [...this.#conversations.frozen])
      if (!this.#started.has(conv)) this.#thaw(turn, conv);
  }

  /** A piece of the server's log; ours is asked for. @param {Turn} turn @param {Frame} frame */
  compare(turn, frame) {
    const ticket = ++this.#ticket;
    this.#pieces.set(ticket, frame);
    const above = (frame.items[0]?.seq ?? frame.floor) - 1;
    turn.notices.push({ type: "rows", ticket, conv: frame.conv, above });
  }

  /** Ours, to be held against the server's; false if nobody waits for them any more.
   * @param {Turn} turn @param {number} ticket @param {Row[]} rows @param {Fetch} fetch
   * @param {number} wall */
  rows(turn, ticket, rows, fetch, wall) {
    const frame = this.#pieces.get(ticket);
    if (!frame) return false;
    this.#pieces.delete(ticket);
    const first = frame.items[0]?.seq ?? frame.floor;
    const ours = new Map(rows.map((row) => [row.seq, row.id]));
    // What we do not hold cannot differ.
    const agreed = frame.items.findLast(
      (/** @type {Row} */ item) => (ours.get(item.seq) ?? item.id) === item.id,
    );
    if (!agreed && first > frame.floor && frame.items.length) fetch(frame.conv, first);
    else this.#settle(turn, frame.conv, agreed ? agreed.seq : first - 1, rows, wall);
    return true;
  }

  /** Up to `agreed` the logs are the same.
   * @param {Turn} turn @param {number} conv @param {number} agreed @param {Row[]} rows
   * @param {number} wall */
  #settle(turn, conv, agreed, rows, wall) {
    const mine = this.#conversations.log(conv);
    if (agreed < mine.have) {
      this.#conversations.cut(mine, agreed);
      turn.writes.push({ type: "tail", conv, above: agreed });
      turn.notices.push({ type: "withdrawn", conv, above: agreed });
      const me = this.#conversations.me;
      const lost = rows.filter((row) => row.seq > agreed && row.from === me);
      this.#outbox.again(turn, lost, wall);
    }
    this.#thaw(turn, conv);
  }

  /** @param {Turn} turn @param {number} conv */
  #thaw(turn, conv) {
    this.#conversations.thaw(turn, this.#conversations.log(conv));
    this.#outbox.hold(this.busy);
  }
}
