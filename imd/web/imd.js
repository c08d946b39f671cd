// @ts-check
/**
 * The client of imd for web pages: stays connected, loses nothing, shows nothing twice.
 *
 *     import { Client } from "./imd.js";
 *     const client = new Client();
 *     client.addEventListener("message", ({ detail }) => show(detail.message));
 *     if (!(await client.start())) await client.login("alice", password);
 *     await client.send(conv, "hello");
 *
 * See docs/javascript.rst for what it guarantees, and `client/rules.js` for how.
 * @module
 */

import { ImdError } from "./client/errors.js";
import { Files } from "./client/files.js";
import { Devices, Friends } from "./client/friends.js";
import { Leader } from "./client/leader.js";
import { MemoryStore } from "./client/memory.js";
import { IndexedStore } from "./client/store.js";
import { newId, wall } from "./client/system.js";
import { Tabs } from "./client/tabs.js";
import { NOBODY, TIMINGS } from "./client/types.js";
import { conversationOf, messageOf, pendingMessage, uploadMessage } from "./client/views.js";

export { ImdError };

/** @import {Message, Conversation} from "./client/views.js" */
/** @import {Body, Row, Timings} from "./client/types.js" */
/** @import {State} from "./client/leader.js" */
/** @import {Events} from "./client/tabs.js" */
/** @typedef {{id: number, name: string}} User */
/** @typedef {{url?: string, database?: string, device?: string, timings?: Partial<Timings>}} Options */

/** Bytes of a text before the server has told its limits (protocol §8). */
const TEXT_BYTES = 16384;
const UTF8 = new TextEncoder();

/** A user's client in this browser; see the module and docs/javascript.rst. */
export class Client extends EventTarget {
  /**
   * - `url`: `ws(s)://HOST/ws`; by default that of the page's host;
   * - `database`: the name of its IndexedDB; another one is another device;
   * - `device`: a label that the user will know this browser by;
   * - `timings`: other seconds than those of `TIMINGS`, for tests.
   * @param {Options} [options]
   */
  constructor({ url, database = "imd", device = "web", timings = {} } = {}) {
    super();
    this.#url = url ?? location.origin.replace(/^http/, "ws") + "/ws";
    this.#database = database;
    this.#device = device;
    this.#timings = { ...TIMINGS, ...timings };
    this.friends = new Friends(this, () => this.#ask("friends", []));
    this.devices = new Devices(this);
    this.files = new Files(this, {
      url: this.#url,
      store: () => this.#need(),
      user: () => this.#account.user,
      tell: (events) => this.#tabs?.tell(events),
      look: () => void this.#ask("uploads", []).catch(() => {}),
    });
  }

  #url;
  #database;
  #device;
  #timings;
  /** @type {IndexedStore | MemoryStore | null} */
  #store = null;
  /** @type {Tabs | null} */
  #tabs = null;
  /** @type {Leader | null} */
  #leader = null;
  #account = NOBODY;
  /** @type {State} */
  #state = { state: "loggedout", reason: null, retryAt: null };
  /** @type {AbortController | null} */
  #listening = null;

  /** Who is logged in. @returns {User | null} */
  get account() {
    const { user, name, token } = this.#account;
    return token === null ? null : { id: user, name };
  }

  /** `loggedout`, `connecting`, `ready`, `waiting` or `refused`. */
  get state() {
    return this.#state.state;
  }

  /** Why there is no connection: `{code, message}`. */
  get reason() {
    return this.#state.reason;
  }

  /** When the next attempt to connect is made, ms since the epoch. */
  get retryAt() {
    return this.#state.retryAt;
  }

  /** Whether what is sent and received outlives this page; false without IndexedDB. */
  get durable() {
    return this.#store?.durable ?? false;
  }

  // -- life

  /** Open the database, join the other tabs, connect if somebody is logged in.
   * @returns {Promise<User | null>} @throws {ImdError} `version` */
  async start() {
    this.#store = await this.#opened();
    this.#account = await this.#store.account();
    if (this.account) this.#state = { state: "connecting", reason: null, retryAt: null };
    const name = `imd:${this.#database}`;
    const owner = {
      lead: (/** @type {string} */ term) => this.#lead(term),
      follow: () => this.#follow(),
      answer: (/** @type {string} */ op, /** @type {any[]} */ args) => this.#answer(op, args),
      greet: () => this.#greeting(),
      hear: (/** @type {Events} */ events) => this.#hear(events),
    };
    this.#tabs = new Tabs(name, this.#store, owner, this.#timings, !this.durable);
    this.#listen();
    this.#tabs.join();
    return this.account;
  }

  async #opened() {
    try {
      const store = new IndexedStore(this.#database, () => this.#outdated());
      await store.open();
      return store;
    } catch (error) {
      if (/** @type {ImdError} */ (error).code === "version") throw error;
      return new MemoryStore();
    }
  }

  /** Another tab runs a newer version of this program, with another database. */
  #outdated() {
    const reason = { code: "version", message: "this page is too old: reload it" };
    void this.close();
    this.#hear([["state", { state: "refused", reason, retryAt: null }]]);
  }

  /** Disconnect; other tabs go on. */
  async close() {
    this.#listening?.abort();
    const tabs = this.#tabs;
    this.#tabs = null;
    await tabs?.close();
    await this.#store?.close();
  }

  #listen() {
    this.#listening = new AbortController();
    const { signal } = this.#listening;
    const awake = () => void this.#ask("awake", []).catch(() => {});
    addEventListener("online", awake, { signal });
    addEventListener("pagehide", () => void this.#tabs?.leave(), { signal });
    addEventListener("pageshow", ({ persisted }) => persisted && this.#resume(), { signal });
    document.addEventListener("freeze", () => void this.#tabs?.leave(), { signal });
    document.addEventListener("resume", () => void this.#resume(), { signal });
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && awake(),
      { signal },
    );
  }

  /** The page comes back from the browser's cache: others may have done much meanwhile. */
  async #resume() {
    this.#tabs?.join();
    this.#account = (await this.#store?.account()) ?? NOBODY;
    this.#hear([
      ["account", { account: this.account }],
      ["stale", {}],
      ["conversations", {}],
      ["friends", {}],
    ]);
  }

  // -- tabs

  /** @param {string} term */
  async #lead(term) {
    const leader = new Leader({
      url: this.#url,
      store: this.#need(),
      term,
      timings: this.#timings,
      tell: (events) => this.#leader === leader && this.#tabs?.tell(events),
      deposed: () => this.#tabs?.deposed(),
    });
    this.#leader = leader;
    await leader.start();
  }

  async #follow() {
    const leader = this.#leader;
    this.#leader = null;
    await leader?.stop();
  }

  /** @param {string} op @param {any[]} args */
  async #answer(op, args) {
    const operation = this.#leader?.operations[op];
    if (!operation) throw new ImdError("offline", "this tab holds no connection any more");
    return operation(...args);
  }

  /** @returns {Events} */
  #greeting() {
    return [["state", this.#leader?.state ?? this.#state]];
  }

  /** @param {Events} events */
  #hear(events) {
    for (const [name, detail] of events) {
      if (name === "state") this.#state = detail;
      if (name === "account") this.#entered(detail.account);
      this.dispatchEvent(new CustomEvent(name, { detail }));
    }
  }

  /** @param {User | null} account */
  #entered(account) {
    if (!account) this.#account = NOBODY;
    else this.#account = { ...this.#account, user: account.id, name: account.name, token: "" };
  }

  #need() {
    if (!this.#store) throw new ImdError("offline", "start() was not called");
    return this.#store;
  }

  /** @param {string} op @param {any[]} args @param {boolean} [again] @returns {Promise<any>} */
  #ask(op, args, again = true) {
    if (!this.#tabs) throw new ImdError("offline", "start() was not called");
    return this.#tabs.ask(op, args, again);
  }

  // -- account

  /** Make an account and log in. @param {string} user @param {string} password
   * @returns {Promise<User>} @throws {ImdError} `exists`, `bad_request`, `limit`, `offline` … */
  register(user, password) {
    return this.#enter(user, password, true);
  }

  /** Log in. @param {string} user @param {string} password
   * @returns {Promise<User>} @throws {ImdError} `unauthorized`, `locked`, `offline`; `conflict`
   * if somebody else did not log out here */
  login(user, password) {
    return this.#enter(user, password, false);
  }

  /** @param {string} user @param {string} password @param {boolean} register */
  async #enter(user, password, register) {
    const device = this.#device;
    return this.#ask("login", [{ user, password, register, device }], false);
  }

  /** Forget everything here, and end this login at the server if it can be reached. */
  async logout() {
    await this.#ask("logout", [], true);
  }

  /** Connect at once instead of at `retryAt`. */
  async reconnect() {
    await this.#ask("reconnect", []);
  }

  // -- messages

  /** R1: send a text.  When this returns it is stored, and will be sent even if this page is
   * closed: by another tab, or the next time.
   * @param {number} conv @param {string} text @returns {Promise<Message>} state `pending`
   * @throws {ImdError} `too_large`, `bad_request`, `unauthorized`, `storage` */
  async send(conv, text) {
    this.#check(text);
    return this.#append(conv, "text", { text });
  }

  /** Send a message that failed again, as a new one; the upload of a file goes on as the same.
   * @param {string} id @returns {Promise<Message>} @throws {ImdError} `not_found` */
  async retry(id) {
    const old = await this.#need().pending(id);
    if (!old && (await this.#need().upload(id))) return this.files.retry(id);
    if (!old) throw new ImdError("not_found", "no such failed message");
    return this.#append(old.conv, old.kind, old.body, id);
  }

  /** Forget a message that failed. @param {string} id @throws {ImdError} `not_found` */
  async discard(id) {
    if ((await this.#need().upload(id))?.code !== undefined) return this.files.cancel(id);
    const { conv } = await this.#need().discard(id);
    this.#tabs?.tell([
      ["discarded", { conv, id }],
      ["conversations", {}],
    ]);
  }

  /** @param {string} text */
  #check(text) {
    if (typeof text !== "string" || text.includes("\0") || /\p{Surrogate}/u.test(text))
      throw new ImdError("bad_request", "not a text");
    const most = this.#account.limits?.text_bytes ?? TEXT_BYTES;
    if (UTF8.encode(text).length > most)
      throw new ImdError("too_large", `a text has at most ${most} bytes`);
  }

  /** @param {number} conv @param {string} kind @param {Body} body @param {string} [old] */
  async #append(conv, kind, body, old) {
    const me = this.#account.user;
    if (!me) throw new ImdError("unauthorized", "nobody is logged in");
    const entry = { id: newId(), conv, kind, body, since: wall() };
    const message = pendingMessage(await this.#need().append(me, entry, old), undefined, me);
    /** @type {Events} */
    const events = old === undefined ? [] : [["discarded", { conv, id: old }]];
    this.#tabs?.tell([...events, ["message", { message }], ["conversations", {}]]);
    void this.#ask("outbox", []).catch(() => {});
    return message;
  }

  /** All conversations, the one with the newest message first.
   * @returns {Promise<Conversation[]>} */
  async conversations() {
    const store = this.#need();
    const friends = (await store.get("friends"))?.items ?? [];
    /** @type {Map<number, string>} */
    const displays = new Map(friends.map((/** @type {any} */ f) => [f.user, f.display]));
    const me = this.#account.user;
    const views = (await store.summaries()).map((each) => conversationOf(each, me, displays));
    return views.sort((a, b) => b.at - a.at || b.conv - a.conv);
  }

  /**
   * Messages below `before` (or the newest, and after them those that are not sent yet),
   * ascending: from this browser, and what it does not have from the server.
   * @param {number} conv @param {{before?: number, limit?: number}} [options]
   * @returns {Promise<{items: Message[], more: boolean}>} `more`: there is something before
   * @throws {ImdError} `offline` if nothing is here and the server cannot be asked
   */
  async history(conv, { before, limit = 50 } = {}) {
    const { log, rows, outbox, uploads } = await this.#need().page(conv, before ?? Infinity, limit);
    const me = this.#account.user;
    const waiting = [
      ...outbox.map((one) => pendingMessage(one, log, me)),
      ...uploads.map((one) => uploadMessage(one, me)),
    ];
    const pending = before === undefined ? waiting : [];
    if (!log) return { items: pending, more: false };
    const first = rows[0]?.seq ?? Math.min(before ?? Infinity, log.have + 1);
    const older = await this.#older(conv, first, log.floor, limit - rows.length, rows, before);
    const items = [...older.rows, ...rows].map((row) => messageOf(row, log, me));
    return { items: [...items, ...pending], more: older.more };
  }

  /** R8: what is not here is asked of the server.
   * @param {number} conv @param {number} first @param {number} floor @param {number} limit
   * @param {Row[]} rows @param {number | undefined} before
   * @returns {Promise<{rows: Row[], more: boolean}>} */
  async #older(conv, first, floor, limit, rows, before) {
    const more = first > Math.max(floor, 1);
    if (!more || limit < 1) return { rows: [], more };
    try {
      return await this.#ask("history", [conv, first, Math.min(limit, 200)]);
    } catch (error) {
      const { code } = /** @type {ImdError} */ (error);
      if (code !== "offline" || (before !== undefined && !rows.length)) throw error;
      return { rows: [], more };
    }
  }

  /** R7: the user has seen everything up to `seq`. @param {number} conv @param {number} seq */
  async read(conv, seq) {
    await this.#ask("read", [conv, seq]);
  }

  /** Call a method of the server (protocol §7).
   * @param {string} method @param {Body} [params] @returns {Promise<any>}
   * @throws {ImdError} as the server says; `offline` if the answer did not come, so that nobody
   * knows whether the call was carried out */
  async call(method, params) {
    return this.#ask("call", [method, params], false);
  }
}
