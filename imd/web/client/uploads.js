// @ts-check
/**
 * Brings the files that are to be sent to the server, one after the other, and then puts the
 * message that carries each into the outbox.  The tab that leads does so; whatever it did is in
 * the database or at the server, where the next one finds it.
 * @module
 */

import { FENCED, ImdError } from "./errors.js";
import { sha256Of } from "./sha256.js";
import { addressOf, chance, now, wall } from "./system.js";
import { PIECE, Passing, bring, offsetOf } from "./transfer.js";
import { pendingMessage, uploadMessage } from "./views.js";

/** @import {Account, Body, Timings, Upload} from "./types.js" */
/** @import {IndexedStore} from "./store.js" */
/** @import {MemoryStore} from "./memory.js" */
/** @import {Events} from "./tabs.js" */
/** @typedef {{url: string, store: IndexedStore | MemoryStore, term: string, timings: Timings,
 *   account(): Account, call(method: string, params: Body): Promise<any>,
 *   tell(events: Events): void, ready(): void}} Parts */

/** Codes of `file.slot` after which it may succeed. */
const LATER = new Set(["offline", "unavailable", "internal"]);
/** The code, in here, of an upload that is not wanted any more. */
const CANCELLED = "cancelled";
/** Seconds between two events that tell of progress. */
const TOLD = 0.1;

/** The uploads of this device. */
export class Uploads {
  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  #parts;
  /** @type {Promise<void> | null} */
  #running = null;
  #stopped = true;
  #again = false;
  #current = "";
  #conv = 0;
  /** Ends the upload that is at work. */
  #ending = new AbortController();
  #wake = () => {};
  /** Bytes of the current one that the server has. */
  #there = 0;
  #told = 0;

  /** There may be something to do, or nothing more: a file was added or cancelled, or the
   * connection is back. */
  async look() {
    this.#stopped = false;
    this.#again = true;
    const current = this.#current;
    if (current && !(await this.#parts.store.upload(current)) && current === this.#current)
      this.#ending.abort(new ImdError(CANCELLED));
    this.#wake();
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      if (this.#again && !this.#stopped) void this.look();
    });
  }

  /** Do nothing more until the next `look`. */
  async stop() {
    this.#stopped = true;
    this.#ending.abort(new ImdError("offline", "the tab was closed"));
    await this.#running;
  }

  async #run() {
    const { store, term } = this.#parts;
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        for (let next; !this.#stopped && (next = await store.nextUpload(term)); )
          await this.#carry(next);
      }
    } catch {
      // The database failed, or another tab leads; a look begins again.
    }
  }

  /** @param {Upload} upload */
  async #carry(upload) {
    const { store, term, tell, account, ready } = this.#parts;
    this.#ending = new AbortController();
    this.#current = upload.id;
    this.#conv = upload.conv;
    this.#there = 0;
    const me = account().user;
    try {
      const body = await this.#brought(upload, this.#ending.signal);
      const { id, conv } = upload;
      const entry = { id, conv, kind: "file", body, since: wall() };
      const pending = await store.uploaded(term, entry);
      if (!pending) return;
      tell([["upload", { message: pendingMessage(pending, undefined, me) }], ["conversations", {}]]);
      ready();
    } catch (error) {
      await this.#failed(upload.id, error, me);
    } finally {
      this.#current = "";
    }
  }

  /** @param {string} id @param {unknown} error @param {number} me */
  async #failed(id, error, me) {
    const { store, term, tell } = this.#parts;
    const { code = "internal" } = /** @type {any} */ (error);
    if (this.#ending.signal.aborted || code === CANCELLED) return;
    if (code === FENCED || code === "storage") throw error;
    // Whatever the browser has against the file, it has no code of ours.
    const known = error instanceof DOMException ? "unreadable" : code;
    // After 507 it goes on where it was; after anything else it begins anew.
    const failed = await store.saveUpload(term, id, (upload) => ({
      ...(known === "full" ? upload : fresh(upload)),
      code: known,
    }));
    if (!failed) return;
    tell([["failed", { message: uploadMessage(failed, me), code: known }], ["conversations", {}]]);
  }

  /** @param {Upload} upload @param {AbortSignal} signal @returns {Promise<Body>} */
  async #brought(upload, signal) {
    const blob = await this.#parts.store.blob(upload.id);
    if (!blob) throw new ImdError("unreadable");
    const sha256 = upload.sha256 ?? (await sha256Of(blob, signal));
    const { name, mime, text } = upload;
    const about = { name, size: blob.size, mime, sha256 };
    for (let failed = 0; ; ) {
      const before = this.#there;
      try {
        const file = await this.#bring(upload.id, about, blob, signal);
        return { file, ...about, ...(text ? { text } : {}) };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Passing)) throw error;
        // A file that was changed on its disk looks like a network that broke.
        await blob.slice(0, 1).arrayBuffer();
        signal.throwIfAborted();
        failed = this.#there > before ? 1 : failed + 1;
        await this.#pause(failed, error.after, signal);
      }
    }
  }

  /** @param {string} id @param {Body} about @param {Blob} blob @param {AbortSignal} signal
   * @returns {Promise<number>} the id of the file */
  async #bring(id, about, blob, signal) {
    const { url, file, known } = await this.#slot(id, about);
    const { token } = this.#parts.account();
    if (token === null) throw new Passing("nobody is logged in");
    const way = { url, token, signal, stall: this.#parts.timings.stall };
    try {
      let there = known ? await offsetOf(way) : 0;
      do {
        const at = this.#tell(id, there, blob.size, true);
        const piece = blob.slice(at, at + PIECE);
        there = await bring(way, at, piece, (sent) => this.#tell(id, at + sent, blob.size));
      } while (there < blob.size);
      this.#tell(id, there, blob.size, true);
      return file;
    } catch (error) {
      // The slot is for a day only: ask for another one.
      if (/** @type {any} */ (error).code !== "not_found") throw error;
      await this.#parts.store.saveUpload(this.#parts.term, id, fresh);
      throw new Passing("the server has forgotten it");
    }
  }

  /** Where the file goes; `known`: it may be there in part. @param {string} id @param {Body} about */
  async #slot(id, about) {
    const { store, term, call, url } = this.#parts;
    const upload = await store.upload(id);
    if (!upload) throw new ImdError(CANCELLED);
    if (upload.file !== undefined && upload.put)
      return { file: upload.file, url: addressOf(url, upload.put), known: true };
    const { file, put } = await call("file.slot", about).catch((error) => {
      throw LATER.has(error.code) ? new Passing(error.message) : error;
    });
    const { sha256 } = about;
    await store.saveUpload(term, id, (old) => ({ ...old, sha256, file, put }));
    return { file, url: addressOf(url, put), known: false };
  }

  /** R9: with full jitter; whoever knows that it may be better now wakes it.
   * @param {number} failed @param {number} after @param {AbortSignal} signal */
  async #pause(failed, after, signal) {
    const { backoffBase, backoffLongest } = this.#parts.timings;
    const delay = Math.max(after, Math.min(backoffLongest, backoffBase ** failed) * chance());
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, delay * 1000);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(null);
      };
      signal.addEventListener("abort", this.#wake, { once: true });
    });
    signal.throwIfAborted();
  }

  /** @param {string} id @param {number} sent @param {number} size @param {boolean} [sure]
   * @returns {number} `sent` */
  #tell(id, sent, size, sure = false) {
    if (sure) this.#there = sent;
    if (sure || now() - this.#told >= TOLD) {
      this.#told = now();
      this.#parts.tell([["progress", { conv: this.#conv, id, sent, size }]]);
    }
    return sent;
  }
}

/** Without what the server knew. @param {Upload} upload @returns {Upload} */
function fresh({ sha256: _sha256, file: _file, put: _put, ...upload }) {
  return upload;
}
