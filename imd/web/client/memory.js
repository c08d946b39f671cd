// @ts-check
/**
 * The store of a page that may not use IndexedDB: nothing outlives it, and no other tab sees it.
 * @module
 */

import { ImdError } from "./errors.js";
import { NOBODY } from "./types.js";

/** @import {Account, Log, Pending, Row, Saved, Upload, Write} from "./types.js" */
/** @import {Lead, Page, Summary} from "./store.js" */

/** Has the methods of `IndexedStore`. */
export class MemoryStore {
  durable = false;
  /** @type {Map<string, any>} */
  #meta = new Map();
  /** @type {Map<number, Log>} */
  #logs = new Map();
  /** @type {Map<number, Map<number, Row>>} */
  #rows = new Map();
  /** @type {Map<number, Pending>} */
  #outbox = new Map();
  /** @type {Map<string, Upload>} */
  #uploads = new Map();
  /** @type {Map<string, Blob>} */
  #blobs = new Map();
  #order = 0;

  async open() {}
  async close() {}

  /** @returns {Promise<Lead | undefined>} */
  async lead() {
    return this.#meta.get("lead");
  }

  /** @param {string} term @param {string | undefined} _old */
  async claim(term, _old) {
    this.#meta.set("lead", { term, beat: 0 });
    return true;
  }

  /** @param {string} _term */
  async beat(_term) {}

  /** @param {string} _term */
  async resign(_term) {}

  /** @param {string} _term @returns {Promise<Saved>} */
  async load(_term) {
    const conversations = [...this.#logs.values()];
    return { account: await this.account(), conversations, outbox: [...this.#outbox.values()] };
  }

  /** @param {string} _term @param {Write[]} writes */
  async write(_term, writes) {
    for (const write of writes) this.#perform(write);
  }

  /** @param {Write} write */
  #perform(write) {
    switch (write.type) {
      case "message":
        return this.#of(write.row.conv).set(write.row.seq, write.row);
      case "tail":
        for (const seq of [...this.#of(write.conv).keys()])
          if (seq > write.above) this.#of(write.conv).delete(seq);
        return;
      case "conversation":
        return this.#logs.set(write.log.id, write.log);
      case "pending":
        return this.#outbox.set(write.entry.order, write.entry);
      case "settled":
        return this.#outbox.delete(write.order);
      case "account":
        return this.#meta.set("account", write.account);
    }
  }

  /** @param {number} conv */
  #of(conv) {
    const rows = this.#rows.get(conv) ?? new Map();
    this.#rows.set(conv, rows);
    return rows;
  }

  /** @param {string} _term */
  async wipe(_term) {
    const lead = this.#meta.get("lead");
    const all = [this.#meta, this.#logs, this.#rows, this.#outbox, this.#uploads, this.#blobs];
    for (const map of all) map.clear();
    this.#meta.set("lead", lead);
  }

  /** @returns {Promise<Account>} */
  async account() {
    return this.#meta.get("account") ?? NOBODY;
  }

  /** @param {string} key @returns {Promise<any>} */
  async get(key) {
    return this.#meta.get(key);
  }

  /** @param {string} key @param {unknown} value */
  async put(key, value) {
    this.#meta.set(key, value);
  }

  /** @param {number} user @param {Omit<Pending, "order">} entry @param {string} [old]
   * @returns {Promise<Pending>} */
  async append(user, entry, old) {
    if ((await this.account()).user !== user) throw new ImdError("unauthorized", "logged out");
    if (old !== undefined) await this.discard(old);
    const row = { ...entry, order: ++this.#order };
    this.#outbox.set(row.order, row);
    return row;
  }

  /** @param {string} id */
  async discard(id) {
    const entry = await this.pending(id);
    if (entry?.code === undefined) throw new ImdError("not_found", "no such failed message");
    this.#outbox.delete(entry.order);
    return entry;
  }

  /** @param {string} id @returns {Promise<Pending | undefined>} */
  async pending(id) {
    return this.#sorted().find((entry) => entry.id === id);
  }

  #sorted() {
    return [...this.#outbox.values()].sort((a, b) => a.order - b.order);
  }

  /** @param {string} _term @param {number} order @returns {Promise<Pending[]>} */
  async outboxAfter(_term, order) {
    return this.#sorted().filter((entry) => entry.order > order);
  }

  /** @param {number} conv @param {number} above @returns {Promise<Row[]>} */
  async rowsAbove(conv, above) {
    const rows = [...this.#of(conv).values()].filter((row) => row.seq > above);
    return rows.sort((a, b) => a.seq - b.seq);
  }

  /** @param {number} conv @param {number} before @param {number} limit
   * @returns {Promise<Page>} */
  async page(conv, before, limit) {
    const rows = (await this.rowsAbove(conv, 0)).filter((row) => row.seq < before);
    const outbox = this.#sorted().filter((entry) => entry.conv === conv);
    const uploads = [...this.#uploads.values()].filter((upload) => upload.conv === conv);
    return { log: this.#logs.get(conv), rows: rows.slice(-limit), outbox, uploads };
  }

  /** @returns {Promise<Summary[]>} */
  async summaries() {
    const me = (await this.account()).user;
    return [...this.#logs.values()].map((log) => {
      const rows = [...this.#of(log.id).values()];
      const own = rows.filter((row) => row.from === me && row.seq > log.read).length;
      const pending = this.#sorted().findLast((entry) => entry.conv === log.id) ?? null;
      const uploads = [...this.#uploads.values()];
      const upload = uploads.findLast(({ conv }) => conv === log.id) ?? null;
      return { log, last: this.#of(log.id).get(log.have) ?? null, own, pending, upload };
    });
  }

  /** @param {number} user @param {Omit<Upload, "order">} upload @param {Blob} blob
   * @returns {Promise<Upload>} */
  async addUpload(user, upload, blob) {
    if ((await this.account()).user !== user) throw new ImdError("unauthorized", "logged out");
    const row = { ...upload, order: ++this.#order };
    this.#uploads.set(row.id, row);
    this.#blobs.set(row.id, blob);
    return row;
  }

  /** @param {string} id @returns {Promise<Upload | undefined>} */
  async upload(id) {
    return this.#uploads.get(id);
  }

  /** @param {string} id @returns {Promise<Blob | undefined>} */
  async blob(id) {
    return this.#blobs.get(id);
  }

  /** @param {string} _term @returns {Promise<Upload | undefined>} */
  async nextUpload(_term) {
    return [...this.#uploads.values()].find(({ code }) => code === undefined);
  }

  /** @param {string} _term @param {string} id @param {(old: Upload) => Upload} change
   * @returns {Promise<Upload | undefined>} */
  async saveUpload(_term, id, change) {
    const old = this.#uploads.get(id);
    if (old) this.#uploads.set(id, change(old));
    return this.#uploads.get(id);
  }

  /** @param {string} _term @param {Omit<Pending, "order">} entry
   * @returns {Promise<Pending | null>} */
  async uploaded(_term, entry) {
    if (!this.#uploads.delete(entry.id)) return null;
    this.#blobs.delete(entry.id);
    const row = { ...entry, order: ++this.#order };
    this.#outbox.set(row.order, row);
    return row;
  }

  /** @param {string} id @returns {Promise<Upload>} */
  async retryUpload(id) {
    const { code, ...upload } = this.#uploads.get(id) ?? {};
    if (code === undefined) throw new ImdError("not_found", "no such failed upload");
    const again = /** @type {Upload} */ (upload);
    this.#uploads.set(id, again);
    return again;
  }

  /** @param {string} id @returns {Promise<Upload>} */
  async dropUpload(id) {
    const upload = this.#uploads.get(id);
    if (!upload) throw new ImdError("not_found", "no such upload");
    this.#uploads.delete(id);
    this.#blobs.delete(id);
    return upload;
  }
}
