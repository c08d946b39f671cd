// @ts-check
/**
 * All tabs of a page are one device: one of them leads, the others ask it, and all hear the
 * same events.  Whatever must not be lost is in the database before it is spoken of here.
 * @module
 */

import { Lease, Locks } from "./election.js";
import { FENCED, ImdError } from "./errors.js";
import { newId, sleep } from "./system.js";

/** @import {Timings} from "./types.js" */
/** @import {Store} from "./election.js" */
/** @typedef {[name: string, detail: any][]} Events */
/** @typedef {{op: string, args: any[], again: boolean, term: string | null,
 *   resolve(value: any): void, reject(error: unknown): void}} Question */
/**
 * Whoever lives in this tab.  `answer` carries out an operation while this tab leads; `greet`
 * gives the events that bring a new tab up to date.
 * @typedef {{lead(term: string): Promise<void>, follow(): Promise<void>,
 *   answer(op: string, args: any[]): Promise<any>, greet(): Events,
 *   hear(events: Events): void}} Owner
 */

/** @type {Events} */
const STALE = [
  ["stale", {}],
  ["conversations", {}],
  ["friends", {}],
];
/** Seconds in which a leader that lives answers. */
const ALIVE = 1;
/** Seconds after which to stand again when something went wrong. */
const AGAIN = 1;

/** This tab among the others. */
export class Tabs {
  /** @param {string} name  of the lock and the channel @param {Store} store
   * @param {Owner} owner @param {Timings} timings @param {boolean} alone  nothing is shared */
  constructor(name, store, owner, timings, alone) {
    this.#name = name;
    this.#store = store;
    this.#owner = owner;
    this.#timings = timings;
    this.#alone = alone;
  }

  #name;
  #store;
  #owner;
  #timings;
  #alone;
  #tab = newId();
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @type {Locks | Lease | null} */
  #election = null;
  /** Who leads, as far as is known. @type {string | null} */
  #term = null;
  /** Who led last. @type {string | null} */
  #former = null;
  #joined = false;
  #leading = false;
  #terms = 0;
  #asked = 0;
  /** @type {Map<number, Question>} */
  #questions = new Map();
  /** @type {Set<() => void>} */
  #hopes = new Set();

  get leading() {
    return this.#leading;
  }

  /** Hear the others, and stand for election. */
  join() {
    if (this.#joined) return;
    this.#joined = true;
    if (!this.#alone) {
      this.#channel = new BroadcastChannel(this.#name);
      this.#channel.onmessage = ({ data }) => this.#heard(data);
    }
    this.#stand();
  }

  async #stand() {
    this.#post({ who: true });
    const owner = {
      elected: (/** @type {string} */ term) => void this.#elected(term),
      deposed: () => void this.#again(),
    };
    const locks = !this.#alone && "locks" in navigator && navigator.locks;
    const election = (this.#election = locks
      ? new Locks(this.#name, this.#store, owner)
      : new Lease(this.#store, owner, this.#timings, () => this.#alive()));
    const term = `${this.#tab}:${++this.#terms}`;
    try {
      await election.stand(term);
    } catch {
      if (this.#election === election) await this.#again();
    }
  }

  /** @param {string} term */
  async #elected(term) {
    const election = this.#election;
    try {
      await this.#owner.lead(term);
    } catch {
      if (this.#election === election) await this.#again();
      return;
    }
    // It may have left meanwhile.
    if (this.#election !== election) return;
    this.#leading = true;
    this.#enthrone(term);
    this.#post({ leads: term, events: this.#owner.greet() });
    this.#recall();
  }

  /** Follow whoever leads now, and stand again. */
  async #again() {
    await this.#withdraw();
    await sleep(AGAIN);
    if (this.#joined && !this.#election) await this.#stand();
  }

  async #withdraw() {
    const election = this.#election;
    this.#election = null;
    this.#term = null;
    this.#leading = false;
    await this.#owner.follow();
    await election?.leave();
  }

  /** This tab was told that another has taken over. */
  deposed() {
    if (this.#leading) void this.#again();
  }

  /** Hear nothing more, and let another tab lead. */
  async leave() {
    const channel = this.#channel;
    this.#channel = null;
    this.#joined = false;
    await this.#withdraw();
    channel?.postMessage({ bye: true });
    channel?.close();
  }

  /** Leave for good. */
  async close() {
    await this.leave();
    for (const { reject } of this.#questions.values()) reject(new ImdError("offline", "closed"));
    this.#questions.clear();
  }

  // -- events

  /** Tell all tabs, this one included. @param {Events} events */
  tell(events) {
    if (!events.length) return;
    this.#post({ events });
    this.#owner.hear(events);
  }

  /** @param {any} data */
  #post(data) {
    this.#channel?.postMessage({ from: this.#tab, ...data });
  }

  /** @param {any} data */
  #heard({ from, to, who, bye, leads, events, ask, answer }) {
    if (to !== undefined && to !== this.#tab) return;
    if (leads) this.#follow(leads);
    if (events) this.#owner.hear(events);
    if (who && this.#leading && this.#term)
      this.#post({ to: from, leads: this.#term, events: this.#owner.greet() });
    if (bye && this.#election instanceof Lease) this.#election.hurry();
    if (ask && this.#leading) void this.#serve(from, ask);
    if (answer) this.#answered(answer);
  }

  /** @param {string} term */
  #follow(term) {
    for (const hope of this.#hopes) hope();
    if (term === this.#term) return;
    if (this.#leading) {
      void this.#doubt();
      return;
    }
    this.#enthrone(term);
    this.#recall();
  }

  /** Whoever led before may have died between storing and telling. @param {string} term */
  #enthrone(term) {
    const stale = this.#former !== null && this.#former !== term;
    this.#term = this.#former = term;
    if (stale) this.#owner.hear(STALE);
  }

  /** Another says that it leads; the database knows who is right. */
  async #doubt() {
    const mine = this.#term;
    const lead = await this.#store.lead().catch(() => undefined);
    if (lead && lead.term !== mine && this.#term === mine) this.deposed();
  }

  /** Whether a leader answers. @returns {Promise<boolean>} */
  async #alive() {
    /** @type {() => void} */
    let hope = () => {};
    const heard = new Promise((resolve) => (hope = () => resolve(true)));
    this.#hopes.add(hope);
    this.#post({ who: true });
    const alive = await Promise.race([heard, sleep(ALIVE).then(() => false)]);
    this.#hopes.delete(hope);
    return Boolean(alive);
  }

  // -- questions

  /**
   * Let the leader carry out an operation.  `again`: it may be repeated by the next leader if
   * this one dies before it has answered.
   * @param {string} op @param {any[]} args @param {boolean} again @returns {Promise<any>}
   */
  ask(op, args, again) {
    return new Promise((resolve, reject) => {
      const question = { op, args, again, term: null, resolve, reject };
      const number = ++this.#asked;
      this.#questions.set(number, question);
      this.#put(number, question);
    });
  }

  /** @param {number} number @param {Question} question */
  #put(number, question) {
    if (this.#term === null) return;
    if (question.term !== null && !question.again) {
      this.#questions.delete(number);
      question.reject(new ImdError("offline", "the tab that held the connection is gone"));
      return;
    }
    question.term = this.#term;
    const { op, args } = question;
    if (!this.#leading) this.#post({ to: leaderOf(this.#term), ask: { number, op, args } });
    else void this.#result(number, op, args).then((answer) => this.#answered(answer));
  }

  /** There is a new leader: put to it what the last one did not answer. */
  #recall() {
    for (const [number, question] of this.#questions)
      if (question.term !== this.#term) this.#put(number, question);
  }

  /** @param {string} from @param {{number: number, op: string, args: any[]}} ask */
  async #serve(from, { number, op, args }) {
    this.#post({ to: from, answer: await this.#result(number, op, args) });
  }

  /** @param {number} number @param {string} op @param {any[]} args */
  async #result(number, op, args) {
    try {
      return { number, value: await this.#owner.answer(op, args) };
    } catch (error) {
      const { code = "internal", message = String(error) } = /** @type {any} */ (error);
      return { number, code, message };
    }
  }

  /** @param {{number: number, value?: any, code?: string, message?: string}} answer */
  #answered({ number, value, code, message }) {
    const question = this.#questions.get(number);
    // Whoever said so leads no more, and has done nothing: the next one is asked.
    if (code === FENCED && question?.again) return;
    this.#questions.delete(number);
    if (code === undefined) question?.resolve(value);
    else question?.reject(new ImdError(code === FENCED ? "offline" : code, message));
  }
}

/** The tab of a term. @param {string} term */
function leaderOf(term) {
  return term.slice(0, term.lastIndexOf(":"));
}
