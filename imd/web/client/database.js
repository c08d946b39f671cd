// @ts-check
/** IndexedDB by promises: the schema, and transactions that hold or do not. @module */

import { ImdError } from "./errors.js";

/** Version of the object stores below. */
const SCHEMA = 2;
/** Ms to wait for other tabs to let an upgrade happen. */
const PATIENCE = 5000;

/** @param {IDBDatabase} db @param {number} old version */
function upgrade(db, old) {
  if (old < 1) createLog(db);
  const uploads = db.createObjectStore("upload", { keyPath: "order", autoIncrement: true });
  uploads.createIndex("id", "id", { unique: true });
  uploads.createIndex("conv", ["conv", "order"]);
  // Apart, so that the bytes of a file are not written again with what becomes of it.
  db.createObjectStore("blob");
}

/** @param {IDBDatabase} db */
function createLog(db) {
  db.createObjectStore("meta");
  db.createObjectStore("conversation", { keyPath: "id" });
  const messages = db.createObjectStore("message", { keyPath: ["conv", "seq"] });
  messages.createIndex("sender", ["conv", "from", "seq"]);
  const pending = db.createObjectStore("pending", { keyPath: "order", autoIncrement: true });
  pending.createIndex("id", "id", { unique: true });
  pending.createIndex("conv", ["conv", "order"]);
}

/** @param {unknown} error */
function explained(error) {
  if (error instanceof ImdError) return error;
  const { name = "", message = "" } = /** @type {DOMException} */ (error ?? {});
  if (name === "VersionError") return new ImdError("version", "this page is too old: reload it");
  return new ImdError("storage", name === "QuotaExceededError" ? "the disk is full" : message);
}

/** The result of a request. @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
export function got(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** A database that is opened when needed, and again if the browser has closed it. */
export class Database {
  /** `outdated` is called when another tab needs a newer schema.
   * @param {string} name @param {() => void} outdated */
  constructor(name, outdated) {
    this.#name = name;
    this.#outdated = outdated;
  }

  #name;
  #outdated;
  #closed = false;
  /** @type {Promise<IDBDatabase> | null} */
  #db = null;

  /** Open it. @throws {ImdError} `storage`, `version` */
  async open() {
    if (this.#closed) throw new ImdError("version", "this page is too old: reload it");
    this.#db ??= this.#opened();
    try {
      return await this.#db;
    } catch (error) {
      this.#db = null;
      throw explained(error);
    }
  }

  async #opened() {
    const request = indexedDB.open(this.#name, SCHEMA);
    request.onupgradeneeded = ({ oldVersion }) => upgrade(request.result, oldVersion);
    const blocked = new Promise((_, reject) => {
      request.onblocked = () =>
        setTimeout(() => reject(new ImdError("storage", "close the other tabs")), PATIENCE);
    });
    const db = await Promise.race([got(request), blocked]);
    db.onversionchange = () => {
      this.#closed = true;
      db.close();
      this.#outdated();
    };
    db.onclose = () => (this.#db = null);
    return db;
  }

  /**
   * Run `work` in a transaction, which holds as a whole or not at all.  `strict`: it survives
   * a crash of the machine, not just of the browser.
   * @template T
   * @param {string[]} names @param {IDBTransactionMode} mode
   * @param {(tx: IDBTransaction) => T | Promise<T>} work
   * @param {boolean} [strict] @returns {Promise<T>} @throws {ImdError} `storage`, or of `work`
   */
  async run(names, mode, work, strict = false) {
    const db = await this.open();
    try {
      const tx = db.transaction(names, mode, { durability: strict ? "strict" : "relaxed" });
      const done = new Promise((resolve, reject) => {
        tx.oncomplete = resolve;
        tx.onabort = () => reject(tx.error);
      });
      const result = await attempted(tx, done, work);
      await done;
      return result;
    } catch (error) {
      throw explained(error);
    }
  }

  /** Close it until it is needed again. */
  async close() {
    const db = this.#db;
    this.#db = null;
    (await db?.catch(() => null))?.close();
  }
}

/** Abort the transaction if `work` fails.
 * @template T @param {IDBTransaction} tx @param {Promise<unknown>} done
 * @param {(tx: IDBTransaction) => T | Promise<T>} work @returns {Promise<T>} */
async function attempted(tx, done, work) {
  try {
    return await work(tx);
  } catch (error) {
    try {
      tx.abort();
    } catch {
      // It failed before we did; then its own error says more.
    }
    await done.catch((cause) => {
      if (cause) throw cause;
    });
    throw error;
  }
}
