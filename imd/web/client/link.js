// @ts-check
/**
 * Keeps a client connected, and performs what the rules decide.
 *
 * Inputs may come many at a time, and while the database writes; all that they led to is then
 * done in one go: one transaction, one message to the server (see `Turn`).
 * @module
 */

import { Connection } from "./connection.js";
import { Rules } from "./rules.js";
import { Timer, chance, now, wall } from "./system.js";

/** @import {Frame, Login, Notice, Saved, Timings, Turn, Write, Row} from "./types.js" */
/**
 * Whoever is told what happens.
 * @typedef {{connecting(): void, told(notices: Notice[], writes: Write[]): void,
 *   failed(error: unknown): void}} Owner
 */
/**
 * @typedef {{write(writes: Write[]): Promise<void>,
 *   rowsAbove(conv: number, above: number): Promise<Row[]>}} Store
 */

/** What may be sent before the server has told its limits (protocol §8). */
const UNTOLD = { batch: 1, frame_bytes: 4096 };

/** The connection of one installation, made again whenever it breaks. */
export class Link {
  /** @param {{url: string, store: Store, saved: Saved, login: Login, timings: Timings,
   *   owner: Owner}} parts */
  constructor({ url, store, saved, login, timings, owner }) {
    this.#url = url;
    this.#store = store;
    this.#timings = timings;
    this.#owner = owner;
    this.rules = new Rules(saved, login, timings);
  }

  #url;
  #store;
  #timings;
  #owner;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {{batch: number, frame_bytes: number}} */
  #limits = UNTOLD;
  #ticks = new Timer(() => this.input((rules) => rules.tick(now())));
  #retry = new Timer(() => this.connect());
  #patience = new Timer(() => this.#connection?.abort("no connection in time"));
  #stopped = false;
  /** @type {unknown} */
  #failure = null;
  /** The server was reached at least once. */
  greeted = false;
  /** The turns that are being performed. @type {Promise<void> | null} */
  #turns = null;

  /** Connect now, unless there is a connection. */
  connect() {
    this.#retry.cancel();
    if (this.#stopped || this.#connection) return;
    this.#patience.start(this.#timings.connect);
    this.#owner.connecting();
    try {
      this.#connection = this.#open();
    } catch (error) {
      this.#closed(null, String(error));
    }
  }

  #open() {
    const connection = new Connection(this.#url, {
      opened: () => this.#opened(),
      received: (frames) => this.#received(frames),
      closed: (code, reason) => this.#closed(code, reason),
    });
    return connection;
  }

  #opened() {
    this.#patience.cancel();
    this.greeted = true;
    this.#limits = UNTOLD;
    this.input((rules) => rules.connected(now(), wall()));
  }

  /** @param {Frame[]} frames */
  #received(frames) {
    for (const frame of frames) if (frame.type === "welcome") this.#limits = frame.limits;
    this.input((rules) => rules.frames(frames, now()));
  }

  /** @param {number | null} code @param {string} reason */
  #closed(code, reason) {
    this.#connection = null;
    this.#patience.cancel();
    this.input((rules) => rules.disconnected(code, reason, chance()));
  }

  /** Give the rules something; what follows from it is done soon.
   * @template T @param {(rules: Rules) => T} give @returns {T} */
  input(give) {
    const result = give(this.rules);
    this.#turns ??= this.#perform();
    return result;
  }

  /** All that was given is stored, and told; throws if it could not be. */
  async settled() {
    while (this.#turns) await this.#turns;
    if (this.#failure) throw this.#failure;
  }

  /** Close the connection, and do nothing more. */
  async stop() {
    this.#stopped = true;
    for (const timer of [this.#ticks, this.#retry, this.#patience]) timer.cancel();
    this.#connection?.finish();
    this.#connection = null;
    while (this.#turns) await this.#turns;
  }

  // -- turns

  async #perform() {
    // What else comes in this turn of the event loop belongs to the same transaction.
    await null;
    try {
      while (!this.#stopped) {
        const turn = this.rules.take();
        if (turn.empty) break;
        await this.#turn(turn);
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#turns = null;
    }
    this.#arm();
  }

  /** @param {Turn} turn */
  async #turn({ writes, frames, notices }) {
    const connection = this.#connection;
    if (writes.length) await this.#store.write(writes);
    if (this.#stopped) return;
    const current = connection !== null && connection === this.#connection;
    if (current && frames.length)
      connection.transmit(frames, this.#limits.batch, this.#limits.frame_bytes);
    for (const notice of notices) this.#heed(notice, current ? connection : null);
    this.#owner.told(notices, writes);
  }

  /** @param {Notice} notice @param {Connection | null} connection */
  #heed(notice, connection) {
    if (notice.type === "hangup") connection?.abort(notice.reason);
    if (notice.type === "reconnect") this.#retry.start(notice.after);
    if (notice.type === "rows") this.#read(notice.ticket, notice.conv, notice.above);
  }

  /** @param {number} ticket @param {number} conv @param {number} above */
  async #read(ticket, conv, above) {
    try {
      const rows = await this.#store.rowsAbove(conv, above);
      if (!this.#stopped) this.input((rules) => rules.rows(ticket, rows, now()));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What is in memory is not what is stored: it has to be read again.
   * @param {unknown} error */
  #fail(error) {
    if (this.#stopped) return;
    this.#failure = error;
    void this.stop();
    this.#owner.failed(error);
  }

  /** See to it that `tick` is called in time; too early does no harm. */
  #arm() {
    const { deadline } = this.rules;
    if (this.#stopped || deadline === null) this.#ticks.cancel();
    else this.#ticks.start(deadline - now());
  }
}
