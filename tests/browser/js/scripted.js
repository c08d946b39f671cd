/** Drives the rules by hand: performs turns on a store in memory, and collects the rest. */

import { MemoryStore } from "/client/memory.js";
import { Rules } from "/client/rules.js";
import { NOBODY, TIMINGS } from "/client/types.js";

export const LIMITS = {
  inflight: 4,
  text_bytes: 100,
  file_bytes: 0,
  frame_bytes: 2000,
  batch: 64,
};
export const ME = 1;
export const PEER = 2;
export const CONV = 7;

/** Fails unless both are the same JSON. */
export function equal(actual, expected, what = "") {
  const [a, b] = [actual, expected].map((value) => JSON.stringify(value));
  if (a !== b) throw new Error(`${what} expected ${b}, got ${a}`);
}

/** An installation, and the server that the test plays. */
export class Scripted {
  store = new MemoryStore();
  frames = [];
  notices = [];
  writes = [];
  now = 100;
  wall = 1_790_000_000_000;
  timings = TIMINGS;

  /** Begin, or begin again after the page died: only the store is left. */
  async boot(login = { user: "me", password: "word" }) {
    this.rules = new Rules(structuredClone(await this.store.load("")), login, this.timings);
    return this;
  }

  /** Perform what is to be done. */
  async turn() {
    const turn = this.rules.take();
    await this.store.write("", structuredClone(turn.writes));
    this.writes.push(turn.writes);
    this.frames.push(...turn.frames);
    this.notices.push(...turn.notices);
    for (const notice of turn.notices)
      if (notice.type === "rows") {
        const rows = await this.store.rowsAbove(notice.conv, notice.above);
        this.rules.rows(notice.ticket, rows, this.now);
        await this.turn();
      }
  }

  /** The frames since the last time. */
  said(type) {
    const said = this.frames.filter((frame) => !type || frame.type === type);
    this.frames = [];
    return said;
  }

  told(type) {
    const told = this.notices.filter((notice) => notice.type === type);
    this.notices = [];
    return told;
  }

  async connect() {
    this.rules.connected(this.now, this.wall);
    await this.turn();
    const [hello] = this.said("hello");
    this.hello = hello;
    return hello;
  }

  async hear(...frames) {
    this.rules.frames(frames, this.now);
    await this.turn();
  }

  async welcome(fields = {}) {
    const user = { id: ME, name: "me" };
    const token = this.hello.token ? {} : { token: "t1" };
    const now = this.wall;
    const rest = { device: 9, session: 1, epoch: "e1", now, heartbeat: 30, roster: 0, caps: [] };
    const { req } = this.hello;
    await this.hear({ type: "welcome", req, user, limits: LIMITS, ...rest, ...token, ...fields });
  }

  head(fields = {}) {
    const peers = [{ user: PEER, name: "peer", delivered: 0, read: 0 }];
    const zero = { last: 0, floor: 1, delivered: 0, read: 0 };
    return { conv: CONV, kind: "direct", ...zero, peers, ...fields };
  }

  async heads(items = [this.head()], next = "s1", req = this.hello.req) {
    await this.hear({ type: "heads", req, items, done: true, next });
  }

  /** Logged in, with one conversation. */
  async ready(head = {}) {
    await this.boot();
    await this.connect();
    await this.welcome();
    await this.heads([this.head(head)]);
    this.said();
    this.notices = [];
    return this;
  }

  async lose(code = null) {
    this.rules.disconnected(code, "", 0.5);
    await this.turn();
    this.frames = [];
  }

  /** Lose the connection, and come back as far as the welcome. */
  async again(fields = {}) {
    await this.lose();
    await this.connect();
    await this.welcome(fields);
  }

  async send(text, id = `id-${text}`) {
    const entry = { id, conv: CONV, kind: "text", body: { text }, since: this.wall };
    this.rules.send(await this.store.append(ME, entry), this.now);
    await this.turn();
    return id;
  }

  item(seq, fields = {}) {
    const body = { text: `m${seq}` };
    return { seq, from: PEER, device: 3, id: `p${seq}`, at: 5, kind: "text", body, ...fields };
  }

  msg(seq, fields = {}) {
    return { type: "msg", conv: CONV, ...this.item(seq, fields) };
  }

  msgs(req, items, fields = {}) {
    return { type: "msgs", req, conv: CONV, items, floor: 1, more: false, ...fields };
  }

  async later(seconds) {
    this.now += seconds;
    this.rules.tick(this.now);
    await this.turn();
  }

  /** What is stored of the conversation. */
  async seqs() {
    return (await this.store.rowsAbove(CONV, 0)).map((row) => row.seq);
  }
}
