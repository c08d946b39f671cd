// @ts-check
/**
 * The recovery algorithm of an imd client, R1 to R9 of protocol §5, without any I/O.
 *
 * What happened goes in as a method call, together with the time; what is to be done comes out
 * of `take` as a `Turn`.  The caller's duties:
 *
 * - perform a `Turn` in the order of its parts: commit the writes in one transaction, then send
 *   the frames (if it is still the same connection), then tell the notices;
 * - call `tick` at `deadline` at the latest, and `take` after any input, or after a few;
 * - give `send` only what its store holds already (R1);
 * - answer a notice `rows` by calling `rows`;
 * - `call` and `history` only while `online`: they are answered in their session or never;
 * - report `connected` and `disconnected` once each for every connection; a connection that
 *   could not be made is `disconnected` too.
 *
 * Times are monotonic seconds; `wall` is the time of day in ms, and only dates the outbox.
 *
 * Where the rules are: R1, R2 `outbox.js`; R3, R4, R7, R8 `conversations.js`; R5 `#own` and
 * `Outbox.seen`; R6 `#welcome`, `#settle` and `restored.js`; R9 `login.js`.  R7 is sent by
 * `marks.js`.
 * @module
 */

import { Conversations, rowOf } from "./conversations.js";
import { PAGE } from "./holes.js";
import { Entrance } from "./login.js";
import { Outbox } from "./outbox.js";
import { Requests } from "./requests.js";
import { Comparison } from "./restored.js";
import { Syncs } from "./syncs.js";
import { Turn } from "./types.js";

/** @import {Account, Body, Frame, Login, Pending, Row, Saved, Timings} from "./types.js" */
/** @import {Answer} from "./requests.js" */

/** Errors after which the same fetch may succeed. */
const PASSING = new Set(["unavailable", "internal", "limit"]);
/** Close code: start over without a sync token. */
const RESYNC = 4007;
/** Messages of each conversation to be pushed along with the heads. */
const TAIL = 20;

/** The state of one installation; see the module for the caller's duties. */
export class Rules {
  /** @param {Saved} saved @param {Login} login @param {Timings} timings */
  constructor(saved, login, timings) {
    this.#timings = timings;
    this.account = saved.account;
    this.#entrance = new Entrance(login, saved.account.token, timings);
    this.#outbox = new Outbox(saved.outbox, timings);
    this.#conversations = new Conversations(saved.conversations, timings, (id) =>
      this.#outbox.has(id),
    );
    this.#conversations.me = saved.account.user;
    this.#comparison = new Comparison(this.#conversations, this.#outbox);
  }

  #timings;
  /** @type {Account} */
  account;
  #entrance;
  #outbox;
  #conversations;
  #comparison;
  #turn = new Turn();
  #now = 0;
  #wall = 0;
  #requests = new Requests();
  // -- of the session
  online = false;
  #open = false;
  #heartbeat = 0;
  #spoke = 0;
  #syncs = new Syncs();
  /** @type {string | null} */
  #next = null;
  /** @type {string | null} */
  #epoch = null;
  /** @type {number | null} */
  #retry = null;
  /** @type {Frame | null} */
  #error = null;
  #hello = 0;

  #reset() {
    this.online = this.#open = false;
    this.#heartbeat = this.#spoke = 0;
    this.#syncs = new Syncs();
    this.#next = this.#epoch = this.#retry = this.#error = null;
    this.#requests.lost();
  }

  // -- what the caller may look at

  /** All conversations by id; to be read, not changed. */
  get conversations() {
    return this.#conversations.all;
  }

  /** The `order` of the last entry of the outbox that is known here. */
  get lastOrder() {
    return this.#outbox.last;
  }

  /** When `tick` has to be called, if nothing happens before. @returns {number | null} */
  get deadline() {
    if (!this.#open) return null;
    const times = [...this.#requests.deadlines, ...this.#conversations.deadlines];
    if (this.#outbox.deadline !== null) times.push(this.#outbox.deadline);
    if (this.online) times.push(this.#spoke + this.#heartbeat);
    return times.length ? Math.min(...times) : null;
  }

  // -- inputs: the connection

  /** The WebSocket is open: say hello. @param {number} now @param {number} wall */
  connected(now, wall) {
    this.#now = now;
    this.#wall = wall;
    this.#open = true;
    // Whatever was meant for an earlier session must not come before the hello.
    this.#turn.frames = [];
    this.#requests.lost();
    const req = (this.#hello = this.#requests.begin(null, now + this.#timings.answer));
    this.#turn.frames.push(this.#entrance.hello(req, this.account.since, TAIL));
  }

  /** R9: the connection is gone, or was not made (`code` is null without a close frame).
   * `random` is in [0, 1) and spreads the clients that lost the same server.
   * @param {number | null} code @param {string} reason @param {number} random */
  disconnected(code, reason, random) {
    if (code === RESYNC) this.#advance({ ...this.account, since: null });
    const { notices } = this.#turn;
    notices.push(this.#entrance.next(code, reason, this.#retry, this.#error, random));
    this.#reset();
    this.#outbox.lost();
    this.#conversations.lost();
    this.#comparison.lost();
  }

  /** Time has passed: R2 and R3 timeouts, R7 marks, and the heartbeat (protocol §8).
   * @param {number} now */
  tick(now) {
    this.#now = now;
    if (!this.#open) return;
    const overdue = this.#outbox.deadline;
    if (overdue !== null && now >= overdue) {
      this.#hangUp("no ack in time");
    } else if (this.#requests.overdue(now)) {
      this.#hangUp("no answer in time");
    } else if (this.online) {
      this.#conversations.holes.tick(now);
      if (now >= this.#spoke + this.#heartbeat) this.#ping(this.#timings.answer);
    }
  }

  /** There is a reason to doubt the connection, such as another network: try it.
   * @param {number} now */
  check(now) {
    this.#now = now;
    if (this.online) this.#ping(this.#timings.check);
  }

  /** @param {number} patience */
  #ping(patience) {
    this.#turn.frames.push({ type: "ping", n: this.#requests.begin(null) });
    this.#requests.expect("pong", this.#now + patience);
  }

  /** @param {string} reason */
  #hangUp(reason) {
    this.#open = this.online = false;
    this.#turn.notices.push({ type: "hangup", reason });
  }

  // -- inputs: the application

  /** R1: send a message that was stored under an id (a UUID, version 7) never used before.
   * @param {Pending} entry @param {number} now */
  send(entry, now) {
    this.#now = now;
    this.#outbox.put(entry);
  }

  /** The user has seen everything up to `seq` (R7).
   * @param {number} conv @param {number} seq @param {number} now */
  displayed(conv, seq, now) {
    this.#now = now;
    if (this.#conversations.has(conv)) this.#conversations.displayed(conv, seq);
  }

  /** Call a method of the server; `answered` will have the number that is returned.
   * @param {string} method @param {Body | undefined} params @param {number} now */
  call(method, params, now) {
    this.#now = now;
    const req = this.#requests.begin((frame) => this.#answered(frame));
    this.#turn.frames.push({ type: "call", req, method, ...(params ? { params } : {}) });
    return req;
  }

  /** R8: read old messages, and store them if they end where ours begin; answered like `call`.
   * @param {number} conv @param {number} before @param {number} limit @param {number} now */
  history(conv, before, limit, now) {
    this.#now = now;
    return this.#fetch({ conv, limit, before }, (frame) => {
      if (isRun(frame, conv)) this.#conversations.older(this.#turn, frame);
      this.#answered(frame);
    });
  }

  /** R6: what the notice `rows` asked for: our rows above a seq, ascending.
   * @param {number} ticket @param {Row[]} rows @param {number} now */
  rows(ticket, rows, now) {
    this.#now = now;
    const fetch = this.#compare;
    if (this.#comparison.rows(this.#turn, ticket, rows, fetch, this.#wall)) this.#settle();
  }

  /** @param {Frame} frame */
  #answered(frame) {
    this.#turn.notices.push({ type: "answered", req: frame.req, frame });
  }

  // -- inputs: frames

  /** One message of the server. @param {Frame[]} frames @param {number} now */
  frames(frames, now) {
    this.#now = now;
    // Whatever it says, it is alive.
    this.#requests.came("pong");
    for (const frame of frames) {
      if (!this.#open) return;
      if (this.online || BEFORE_WELCOME.has(frame.type)) this.#inputs[frame.type]?.(frame);
    }
  }

  /** @type {Record<string, Answer>} */
  #inputs = {
    welcome: (frame) => this.#welcome(frame),
    ack: (frame) => this.#ack(frame),
    nack: ({ id, code, message }) => this.#outbox.nacked(this.#turn, id, code, message ?? ""),
    msg: (frame) => this.#own(rowOf(frame.conv, frame)),
    msgs: (frame) => this.#msgs(frame),
    heads: (frame) => this.#heads(frame),
    head: ({ conv, last }) => this.#unknown(conv) || this.#conversations.poke(conv, last),
    receipt: (frame) => this.#receipt(frame),
    result: (frame) => void this.#requests.answer(frame),
    error: (frame) => this.#refused(frame),
    event: (frame) => this.#event(frame),
    pong: (frame) => this.#pong(frame),
    bye: (frame) => (this.#retry = frame.retry),
  };

  /** R2 and the first half of R6: a session begins, perhaps with a restored server.
   * @param {Frame} frame */
  #welcome(frame) {
    if (this.online) return;
    if (this.account.user && this.account.user !== frame.user.id) {
      this.#stranger();
      return;
    }
    this.#requests.came(frame.req);
    this.online = true;
    this.#heartbeat = frame.heartbeat;
    this.#logIn(frame);
    this.#outbox.welcome(this.#turn, frame.limits, this.#wall);
    if (frame.epoch !== this.account.epoch) {
      this.#epoch = frame.epoch;
      this.#comparison.begin();
      this.account = { ...this.account, since: null };
      this.#sync(true);
    } else {
      this.#syncs.begin(this.#hello, this.account.since === null);
      this.#requests.expect("heads", this.#now + this.#timings.heads);
    }
    this.#turn.notices.push({ type: "welcomed", account: this.account });
  }

  /** What is stored here belongs to somebody else, so the login is taken back. */
  #stranger() {
    this.#turn.frames.push({ type: "call", req: 0, method: "account.logout" });
    const reason = "another user's messages are stored here: log out first";
    this.#turn.notices.push({ type: "stop", close: 0, code: "conflict", reason });
    this.#hangUp("wrong user");
  }

  /** @param {Frame} frame */
  #logIn({ user, device, token, epoch, limits, roster }) {
    this.#entrance.admitted(token);
    const old = this.account;
    const kept = { user: user.id, name: user.name, device, token: this.#entrance.token };
    // A first login has nothing to compare: it takes the epoch as it finds it.
    this.account = { ...old, ...kept, epoch: old.epoch || epoch, limits, roster };
    this.#conversations.me = user.id;
    this.#turn.writes.push({ type: "account", account: this.account });
  }

  /** R4: ask for the heads that changed, or for all of them. @param {boolean} full */
  #sync(full) {
    const req = this.#requests.begin(null);
    this.#syncs.begin(req, full);
    this.#requests.expect("heads", this.#now + this.#timings.heads);
    const since = full ? null : this.account.since;
    const frame = { type: "sync", req, tail: TAIL };
    this.#turn.frames.push(since === null ? frame : { ...frame, since });
  }

  /** R4 and R8 for each head; the last page has a token. @param {Frame} frame */
  #heads(frame) {
    if (this.#requests.came("heads"))
      this.#requests.expect("heads", this.#now + this.#timings.heads);
    for (const item of frame.items) {
      this.#conversations.head(this.#turn, item, this.#epoch !== null);
      if (this.#comparison.busy) this.#comparison.head(item, this.#compare);
    }
    if (frame.done && frame.req === this.#syncs.req) {
      this.#next = frame.next ?? null;
      this.#synced();
    }
  }

  /** All heads have come: go on with what they said is missing. */
  #synced() {
    const again = this.#syncs.finished(this.#conversations);
    this.#requests.came("heads");
    this.#comparison.leave(this.#turn);
    this.#conversations.synced(this.#now + this.#timings.gap);
    this.#settle();
    if (again !== null) this.#sync(again);
  }

  /** R6: the token and the epoch count once every log was compared, and with all state. */
  #settle() {
    if (!this.online || this.#comparison.busy || this.#syncs.req !== null) return;
    const epoch = this.#epoch ?? this.account.epoch;
    this.#epoch = null;
    this.#advance({ ...this.account, epoch, since: this.#next });
    this.#entrance.succeeded();
    this.#turn.notices.push({ type: "synced" });
  }

  /** @param {Account} account */
  #advance(account) {
    this.account = account;
    this.#conversations.save(this.#turn);
    this.#turn.writes.push({ type: "account", account });
  }

  /** R6: read the server's log downwards.
   * @type {(conv: number, before: number) => void} */
  #compare = (conv, before) => {
    this.#fetch({ conv, limit: PAGE, before }, (frame) => {
      if (!isRun(frame, conv)) this.#hangUp("the log could not be compared");
      else this.#comparison.compare(this.#turn, frame);
    });
  };

  /** R4: a conversation that we never heard of is found by a sync. @param {number} conv */
  #unknown(conv) {
    if (this.#conversations.has(conv)) return false;
    if (this.#syncs.unknown(conv)) this.#sync(false);
    return true;
  }

  /** R5: my own message ends its wait wherever it turns up; then R3. @param {Row} row */
  #own(row) {
    if (row.from === this.account.user) this.#outbox.seen(this.#turn, row);
    if (!this.#unknown(row.conv)) this.#conversations.message(this.#turn, row, this.#now);
  }

  /** The server pushes my messages to my other devices only: this is all I get of them.
   * @param {Frame} frame */
  #ack({ id, seq, at }) {
    const entry = this.#outbox.acked(this.#turn, id, seq, at);
    if (!entry) return;
    const { conv, kind, body } = entry;
    const { user: from, device } = this.account;
    this.#own({ conv, seq, id, from, device, at, kind, body });
  }

  /** The answer to a fetch, or what came along with the heads. @param {Frame} frame */
  #msgs(frame) {
    if (this.#requests.answer(frame) || this.#unknown(frame.conv)) return;
    this.#seen(frame);
    this.#conversations.tail(this.#turn, frame, this.#now);
  }

  /** R5 for a run of the log. @param {Frame} frame */
  #seen(frame) {
    for (const item of frame.items)
      if (item.from === this.account.user)
        this.#outbox.seen(this.#turn, rowOf(frame.conv, item));
  }

  /** @param {Frame} frame */
  #receipt(frame) {
    if (this.#unknown(frame.conv)) return;
    if (!this.#conversations.receipt(this.#turn, frame) && this.#syncs.wanted())
      this.#sync(false);
  }

  /** @param {Frame} frame */
  #refused(frame) {
    if (!this.online) this.#error = frame;
    else if (frame.req !== undefined && frame.req === this.#syncs.req)
      this.#hangUp(`sync: ${frame.code}`);
    else this.#requests.answer(frame);
  }

  /** R4: an event may speak of a conversation that is new. @param {Frame} frame */
  #event({ name, data }) {
    if (Number.isSafeInteger(data?.conv)) this.#unknown(data.conv);
    else if (name === "friend.accepted" && this.#syncs.wanted()) this.#sync(false);
    this.#turn.notices.push({ type: "hinted", name, data });
  }

  /** R6: a newer token, which covers everything that was pushed before it.
   * @param {Frame} frame */
  #pong({ since }) {
    if (since !== undefined && this.#syncs.req === null && this.#epoch === null)
      this.#advance({ ...this.account, since });
  }

  // -- outputs

  /** What is to be done since the last time. */
  take() {
    if (this.online) {
      this.#outbox.transmit(this.#turn, this.#now);
      this.#mend();
      this.#conversations.marks.send(this.#turn, this.#now);
    }
    this.#outbox.land(this.#turn, this.#conversations.all);
    this.#conversations.save(this.#turn);
    const turn = this.#turn;
    this.#turn = new Turn();
    if (turn.frames.length) this.#spoke = this.#now;
    return turn;
  }

  #mend() {
    const { all, frozen, holes } = this.#conversations;
    for (let fields; (fields = holes.next(all, frozen)); )
      this.#ask(fields, (frame) => this.#conversations.fetched(this.#turn, frame, this.#now));
    const look = this.#syncs.req === null ? holes.nextLook(all, frozen) : null;
    if (look) this.#ask(look, (frame) => this.#conversations.looked(this.#turn, frame));
  }

  /** @param {{conv: number, limit: number}} fields @param {Answer} take */
  #ask(fields, take) {
    this.#fetch(fields, (frame) => {
      if (frame.type === "error") {
        this.#conversations.fetchFailed(fields.conv, PASSING.has(frame.code), this.#now);
      } else if (!isRun(frame, fields.conv)) {
        this.#hangUp("the answer to another question");
      } else {
        this.#seen(frame);
        take(frame);
      }
    });
  }

  /** @param {{conv: number, limit: number, before?: number}} fields @param {Answer} answer */
  #fetch(fields, answer) {
    const req = this.#requests.begin(answer, this.#now + this.#timings.answer);
    this.#turn.frames.push({ type: "fetch", req, ...fields });
    return req;
  }
}

/** @param {Frame} frame @param {number} conv */
function isRun(frame, conv) {
  return frame.type === "msgs" && frame.conv === conv;
}

/** Frames that may come before the welcome. */
const BEFORE_WELCOME = new Set(["welcome", "error", "bye"]);
