// @ts-check
/** The outbox: what I send, until it is in the log (R1, R2 and R5 of protocol §5). @module */

/** @import {Pending, Turn, Limits, Timings, Row, Log} from "./types.js" */

/** Bytes that a `send` frame takes around its body, and a little more. */
const ENVELOPE = 512;
const UTF8 = new TextEncoder();

/** Pending sends in their order, and which of them were transmitted in this session. */
export class Outbox {
  /** Entries that were refused take no part. @param {Pending[]} saved @param {Timings} timings */
  constructor(saved, timings) {
    this.#timings = timings;
    const alive = saved.filter((entry) => entry.code === undefined);
    for (const entry of alive.sort((a, b) => a.order - b.order)) {
      if (entry.seq === undefined) this.#entries.set(entry.id, entry);
      else this.#landing.set(entry.id, { entry, saved: true });
    }
    this.#last = alive.at(-1)?.order ?? 0;
  }

  #timings;
  #last;
  /** Without an answer. @type {Map<string, Pending>} */
  #entries = new Map();
  /** Acknowledged, but not in our log yet. @type {Map<string, {entry: Pending, saved: boolean}>} */
  #landing = new Map();
  /** @type {Pending[]} */
  #waiting = [];
  /** Id to the time of transmission; the first is the oldest. @type {Map<string, number>} */
  #flying = new Map();
  #window = 0;
  #frameBytes = 0;
  #held = false;

  /** Sends without an answer, transmitted or not. */
  get size() {
    return this.#entries.size;
  }

  /** The `order` of the last entry that we were given. */
  get last() {
    return this.#last;
  }

  /** Whether a message of mine is one of these. @param {string} id */
  has(id) {
    return this.#entries.has(id) || this.#landing.has(id);
  }

  /** When the oldest transmitted entry is overdue. @returns {number | null} */
  get deadline() {
    for (const sent of this.#flying.values()) return sent + this.#timings.ack;
    return null;
  }

  /** R1: an entry that the store holds already; `transmit` sends it once there is room.
   * @param {Pending} entry */
  put(entry) {
    this.#last = Math.max(this.#last, entry.order);
    if (this.has(entry.id)) return;
    this.#entries.set(entry.id, entry);
    this.#waiting.push(entry);
  }

  /** R2: a session begins; all that is not acknowledged goes again, in the old order.
   * @param {Turn} turn @param {Limits} limits @param {number} wall */
  welcome(turn, limits, wall) {
    this.#window = limits.inflight;
    this.#frameBytes = limits.frame_bytes;
    this.#flying.clear();
    for (const entry of this.#entries.values())
      if (wall - entry.since > this.#timings.expires * 1000)
        this.#refuse(turn, entry, "expired", "nobody could be reached for too long");
    this.#waiting = [...this.#entries.values()];
  }

  /** The session is gone: nothing is transmitted until the next `welcome`. */
  lost() {
    this.#window = 0;
    this.#flying.clear();
  }

  /** Transmit nothing while the log is being compared after a restore (R6).
   * @param {boolean} held */
  hold(held) {
    this.#held = held;
  }

  /** R6: what was acknowledged, but is not in our log, may be in no log any more. */
  doubt() {
    const doubted = [...this.#landing.values()].map(({ entry }) => entry);
    this.#landing.clear();
    for (const entry of doubted) {
      const { seq: _seq, at: _at, ...again } = entry;
      this.#entries.set(entry.id, again);
    }
    this.#sort();
  }

  #sort() {
    const sorted = [...this.#entries].sort(([, a], [, b]) => a.order - b.order);
    this.#entries = new Map(sorted);
    this.#waiting = [...this.#entries.values()].filter(({ id }) => !this.#flying.has(id));
  }

  /** R1: in order, and never more than the window without an `ack`.
   * @param {Turn} turn @param {number} now */
  transmit(turn, now) {
    if (this.#held) return;
    let taken = 0;
    while (taken < this.#waiting.length && this.#flying.size < this.#window) {
      const entry = this.#waiting[taken++];
      if (!this.#entries.has(entry.id)) continue;
      const { id, conv, kind, body } = entry;
      if (UTF8.encode(JSON.stringify(body)).length + ENVELOPE > this.#frameBytes) {
        this.#refuse(turn, entry, "too_large", `at most ${this.#frameBytes} bytes`);
        continue;
      }
      this.#flying.set(id, now);
      turn.frames.push({ type: "send", id, conv, kind, body });
    }
    this.#waiting.splice(0, taken);
  }

  /** The server has committed `id`: returns its entry, or null for one long settled.
   * @param {Turn} turn @param {string} id @param {number} seq @param {number} at */
  acked(turn, id, seq, at) {
    const entry = this.#entries.get(id);
    this.#flying.delete(id);
    if (!entry) return null;
    this.#entries.delete(id);
    const { conv, kind, body } = entry;
    this.#landing.set(id, { entry: { ...entry, seq, at }, saved: false });
    turn.notices.push({ type: "acked", id, conv, seq, at, kind, body });
    return entry;
  }

  /** R5: my own message in the log is as good as its `ack`. @param {Turn} turn @param {Row} row */
  seen(turn, row) {
    this.acked(turn, row.id, row.seq, row.at);
  }

  /** The server will never store this one.
   * @param {Turn} turn @param {string} id @param {string} code @param {string} message */
  nacked(turn, id, code, message) {
    const entry = this.#entries.get(id);
    this.#flying.delete(id);
    if (entry) this.#refuse(turn, entry, code, message);
  }

  /** R6: these of mine vanished from the log; they go first, since they were first.
   * @param {Turn} turn @param {Row[]} rows @param {number} wall */
  again(turn, rows, wall) {
    const lost = rows.filter((row) => !this.#entries.has(row.id));
    const orders = [...this.#entries.values()].map((entry) => entry.order);
    const first = Math.min(this.#last + 1, ...orders) - lost.length;
    lost.forEach(({ id, conv, kind, body }, i) => {
      const entry = { order: first + i, id, conv, kind, body, since: wall };
      this.#entries.set(id, entry);
      turn.writes.push({ type: "pending", entry });
    });
    this.#sort();
  }

  /** Those that our log has got by now need no row of their own; the others keep it, so that
   * no message of mine vanishes meanwhile.
   * @param {Turn} turn @param {ReadonlyMap<number, Log>} logs */
  land(turn, logs) {
    for (const [id, one] of this.#landing) {
      const { entry } = one;
      if ((logs.get(entry.conv)?.have ?? -1) >= (entry.seq ?? 0)) {
        this.#landing.delete(id);
        turn.writes.push({ type: "settled", order: entry.order });
      } else if (!one.saved) {
        one.saved = true;
        turn.writes.push({ type: "pending", entry });
      }
    }
  }

  /** @param {Turn} turn @param {Pending} entry @param {string} code @param {string} message */
  #refuse(turn, entry, code, message) {
    this.#entries.delete(entry.id);
    const refused = { ...entry, code };
    turn.writes.push({ type: "pending", entry: refused });
    turn.notices.push({ type: "refused", entry: refused, code, message });
  }
}
