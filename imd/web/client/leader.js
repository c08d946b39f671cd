// @ts-check
/** What the tab does that holds the connection. @module */

import { Calls } from "./calls.js";
import { FENCED, ImdError } from "./errors.js";
import { eventsOf } from "./events.js";
import { LaterUploads } from "./later.js";
import { Link } from "./link.js";
import { Timer, now, sleep } from "./system.js";
import { NOBODY } from "./types.js";

/** @import {Body, Login, Notice, Saved, Timings, Write} from "./types.js" */
/** @import {IndexedStore} from "./store.js" */
/** @import {MemoryStore} from "./memory.js" */
/** @import {Events} from "./tabs.js" */
/** @typedef {{code: string, message: string}} Reason */
/** @typedef {{state: string, reason: Reason | null, retryAt: number | null}} State */
/** @typedef {{url: string, store: IndexedStore | MemoryStore, term: string, timings: Timings,
 *   tell(events: Events): void, deposed(): void}} Parts */

const AGENT = "imd-js/1";
const LOGGED_OUT = { state: "loggedout", reason: null, retryAt: null };

/** Holds the connection of this device; there is one such tab. */
export class Leader {
  /** @param {Parts} parts */
  constructor({ url, store, term, timings, tell, deposed }) {
    this.#url = url;
    this.#store = store;
    this.#term = term;
    this.#timings = timings;
    this.#tell = tell;
    this.#deposed = deposed;
    this.#uploads = new LaterUploads({
      url,
      store,
      term,
      timings,
      tell,
      account: () => this.account,
      call: (method, params) => this.#call(method, params),
      ready: () => void this.#pull().catch(() => {}),
    });
  }

  #url;
  #store;
  #term;
  #timings;
  #tell;
  #deposed;
  #uploads;
  /** @type {Link | null} */
  #link = null;
  #calls = new Calls();
  /** @type {State} */
  state = LOGGED_OUT;
  account = NOBODY;
  #reload = new Timer(() => void this.#restart());
  /** Who waits for a login. @type {{resolve(): void, reject(error: ImdError): void} | null} */
  #entering = null;
  /** Who waits for the end of connecting. @type {Set<() => void>} */
  #waiting = new Set();
  #leaving = false;
  /** @type {Promise<void> | null} */
  #pulling = null;
  #pullAgain = false;

  /** Go on where the last leader stopped. */
  async start() {
    const saved = await this.#store.load(this.#term);
    this.account = saved.account;
    if (saved.account.token !== null) this.#connect(saved, {});
  }

  /** End the connection. */
  async stop() {
    this.#reload.cancel();
    this.#calls.lost();
    this.#entering?.reject(new ImdError("offline", "the tab was closed"));
    this.#wake();
    await this.#uploads.stop();
    await this.#link?.stop();
    this.#link = null;
  }

  /** @param {Saved} saved @param {Login} login */
  #connect(saved, login) {
    const store = {
      write: (/** @type {Write[]} */ writes) => this.#store.write(this.#term, writes),
      rowsAbove: (/** @type {number} */ conv, /** @type {number} */ above) =>
        this.#store.rowsAbove(conv, above),
    };
    /** @type {Link} */
    const link = new Link({
      url: this.#url,
      store,
      saved,
      login: { ...login, agent: AGENT },
      timings: this.#timings,
      owner: {
        connecting: () => this.#link === link && this.#setState("connecting"),
        told: (notices, writes) => this.#link === link && this.#told(notices, writes),
        failed: (error) => this.#link === link && this.#failed(error),
      },
    });
    this.#link = link;
    link.connect();
    // What was put into the outbox since it was loaded.
    void this.#pull().catch(() => {});
  }

  /** The database failed, or another tab has taken over. @param {unknown} error */
  #failed(error) {
    const { code = "internal", message = String(error) } = /** @type {any} */ (error);
    this.#calls.lost();
    void this.#link?.stop();
    this.#link = null;
    if (code === FENCED) {
      this.#deposed();
      return;
    }
    this.#entering?.reject(new ImdError(code, message));
    const delay = this.#timings.storage;
    this.#setState("waiting", { code, message }, Date.now() + delay * 1000);
    this.#reload.start(delay);
  }

  async #restart() {
    this.#reload.cancel();
    try {
      await this.start();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** @param {string} state @param {Reason | null} [reason] @param {number | null} [retryAt] */
  #setState(state, reason = null, retryAt = null) {
    this.state = { state, reason, retryAt };
    this.#tell([["state", this.state]]);
    if (state !== "connecting") this.#wake();
  }

  #wake() {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  // -- what the rules tell

  /** @param {Notice[]} notices @param {Write[]} writes */
  #told(notices, writes) {
    /** @type {Events} */
    const events = [];
    const logs = this.#link?.rules.conversations;
    for (const notice of notices) events.push(...eventsOf(notice, this.account, logs));
    if (writes.some(({ type }) => type !== "account")) events.push(["conversations", {}]);
    this.#tell(events);
    for (const notice of notices) this.#follow(notice);
  }

  /** @param {Notice} notice */
  #follow(notice) {
    if (notice.type === "welcomed") this.#welcomed(notice.account);
    if (notice.type === "synced") this.#synced();
    if (notice.type === "answered") this.#calls.answered(notice.frame);
    if (notice.type === "reconnect") this.#lost(notice);
    if (notice.type === "stop") void this.#refused(notice);
  }

  /** @param {import("./types.js").Account} account */
  #welcomed(account) {
    const known = this.account.user === account.user && this.account.token !== null;
    this.account = account;
    if (!known) this.#tell([["account", { account: { id: account.user, name: account.name } }]]);
    this.#entering?.resolve();
    this.#entering = null;
  }

  #synced() {
    this.#setState("ready");
    this.#calls.flow();
    void this.#roster().catch(() => {});
    void this.#uploads.look().catch(() => {});
  }

  /** The friend list changed while nobody was told. */
  async #roster() {
    const cached = await this.#store.get("friends");
    if (cached?.version !== this.account.roster) this.#tell([["friends", {}]]);
  }

  /** @param {Extract<Notice, {type: "reconnect"}>} notice */
  #lost({ after, code, error, reason }) {
    this.#calls.lost();
    if (this.#leaving) return;
    const why = { code: error || String(code ?? "offline"), message: reason };
    if (this.#entering && (error || !this.#link?.greeted)) {
      void this.#abandon(new ImdError(why.code, reason));
      return;
    }
    this.#setState("waiting", why, Date.now() + after * 1000);
  }

  /** @param {Extract<Notice, {type: "stop"}>} notice */
  async #refused({ close, code, reason }) {
    this.#calls.lost();
    if (this.#leaving) return;
    const error = new ImdError(code || String(close), reason);
    if (this.#entering) {
      await this.#abandon(error);
      return;
    }
    await this.#link?.stop();
    this.#link = null;
    // Replaced (4502), perhaps by another tab while this one was frozen.
    const lead = await this.#store.lead().catch(() => undefined);
    if (lead?.term !== this.#term) {
      this.#deposed();
      return;
    }
    // R9: bad credentials stay bad.
    if (close === 4501) await this.#forget();
    void this.#uploads.stop();
    this.#setState("refused", { code: error.code, message: reason });
  }

  async #forget() {
    const account = { ...this.account, token: null };
    this.account = account;
    await this.#store.write(this.#term, [{ type: "account", account }]).catch(() => {});
  }

  // -- logging in and out

  /** The operations that tabs ask for.
   * @type {Record<string, (...args: any[]) => Promise<any>>} */
  operations = {
    login: (login) => this.#login(login),
    logout: () => this.#logout(),
    call: (method, params) => this.#call(method, params),
    friends: () => this.#friends(),
    history: (conv, before, limit) => this.#history(conv, before, limit),
    read: (conv, seq) => this.#read(conv, seq),
    reconnect: async () => this.#reconnect(),
    awake: async () => this.#awake(),
    outbox: () => this.#pull(),
    uploads: async () => this.#link && this.#uploads.look(),
  };

  /** @param {Login} login */
  async #login(login) {
    if (this.#link || this.#entering) throw new ImdError("conflict", "log out first");
    const saved = await this.#store.load(this.#term);
    const { user, name } = saved.account;
    if (user && name !== login.user?.toLowerCase())
      throw new ImdError("conflict", "another user's messages are stored here: log out first");
    const entered = new Promise((resolve, reject) => {
      this.#entering = { resolve: () => resolve(null), reject };
    });
    const account = { ...saved.account, token: null };
    this.#connect({ ...saved, account }, login);
    const late = new ImdError("offline", "no answer in time");
    const timer = new Timer(() => void this.#abandon(late));
    timer.start(this.#timings.login);
    await entered.finally(() => timer.cancel());
    return { id: this.account.user, name: this.account.name };
  }

  /** The login failed. @param {ImdError} error */
  async #abandon(error) {
    const entering = this.#entering;
    this.#entering = null;
    const link = this.#link;
    this.#link = null;
    await link?.stop();
    this.#setState("loggedout", { code: error.code, message: error.message });
    entering?.reject(error);
  }

  async #logout() {
    this.#leaving = true;
    if (this.state.state === "ready")
      await Promise.race([
        this.#call("account.logout").catch(() => {}),
        sleep(this.#timings.logout),
      ]);
    await this.stop();
    await this.#store.wipe(this.#term).finally(() => (this.#leaving = false));
    this.account = NOBODY;
    this.#tell([["account", { account: null }]]);
    this.#setState("loggedout");
  }

  // -- requests

  /** Wait until it is known whether there is a session. @returns {Promise<Link>} */
  async #session() {
    if (this.state.state === "connecting")
      await new Promise((resolve) => this.#waiting.add(() => resolve(null)));
    if (this.state.state !== "ready" || !this.#link?.rules.online)
      throw new ImdError("offline", this.state.reason?.message || "there is no connection");
    return this.#link;
  }

  /** @param {(link: Link) => number} begin */
  async #ask(begin) {
    const link = await this.#session();
    const answer = this.#calls.ask(() => begin(link));
    this.#calls.flow();
    return answer;
  }

  /** @param {string} method @param {Body} [params] */
  async #call(method, params) {
    const frame = await this.#ask((link) =>
      link.input((rules) => rules.call(method, params, now())),
    );
    if (method.startsWith("friend.") && method !== "friend.list") this.#tell([["friends", {}]]);
    return frame.data;
  }

  async #friends() {
    const cached = await this.#store.get("friends");
    try {
      const list = await this.#call("friend.list");
      await this.#store.put("friends", list);
      // Conversations show the names of the list.
      if (cached?.version !== list.version) this.#tell([["conversations", {}]]);
      return list.items;
    } catch (error) {
      if (cached && /** @type {ImdError} */ (error).code === "offline") return cached.items;
      throw error;
    }
  }

  /** @param {number} conv @param {number} before @param {number} limit */
  async #history(conv, before, limit) {
    const frame = await this.#ask((link) =>
      link.input((rules) => rules.history(conv, before, limit, now())),
    );
    const rows = frame.items.map((/** @type {any} */ item) => ({ conv, ...item }));
    return { rows, more: frame.more };
  }

  /** @param {number} conv @param {number} seq */
  async #read(conv, seq) {
    this.#link?.input((rules) => rules.displayed(conv, seq, now()));
    await this.#link?.settled();
  }

  async #reconnect() {
    if (this.#link) this.#link.connect();
    else await this.#restart();
  }

  /** The page is seen again, or the network came back: do not wait, and trust nothing. */
  async #awake() {
    if (this.state.state === "waiting") await this.#reconnect();
    else this.#link?.input((rules) => rules.check(now()));
  }

  /** R1: take over what tabs have put into the outbox, in its order. */
  #pull() {
    this.#pullAgain = true;
    this.#pulling ??= this.#pulled()
      .catch((error) => {
        this.#failed(error);
        throw error;
      })
      .finally(() => (this.#pulling = null));
    return this.#pulling;
  }

  async #pulled() {
    while (this.#pullAgain && this.#link) {
      this.#pullAgain = false;
      const link = this.#link;
      const entries = await this.#store.outboxAfter(this.#term, link.rules.lastOrder);
      for (const entry of entries)
        if (entry.code === undefined) link.input((rules) => rules.send(entry, now()));
    }
  }
}
