// @ts-check
/** Files: what tabs do with them; `uploads.js` brings them to the server. @module */

import { ImdError } from "./errors.js";
import { addressOf, newId, wall } from "./system.js";
import { uploadMessage } from "./views.js";

/** @import {Message} from "./views.js" */
/** @import {IndexedStore} from "./store.js" */
/** @import {MemoryStore} from "./memory.js" */
/** @import {Events} from "./tabs.js" */
/**
 * @typedef {EventTarget & {call(method: string, params?: Record<string, any>): Promise<any>,
 *   history(conv: number, options: {before: number, limit: number}):
 *   Promise<{items: Message[]}>}} Caller
 */
/** @typedef {{store(): IndexedStore | MemoryStore, user(): number, tell(events: Events): void,
 *   look(): void, url: string}} Parts */
/**
 * - `name`: instead of the file's own; `text`: a caption;
 * - `onProgress`: hears how many bytes are at the server, and of how many;
 * - `signal`: cancels.
 * @typedef {{name?: string, text?: string, signal?: AbortSignal,
 *   onProgress?: (sent: number, size: number) => void}} Sending
 */
/** @typedef {{url: string, expires: number}} Link */

/** Characters of a name, and of a type, that the server takes. */
const NAME = 255;
const MIME = 127;
/** A link that is good for less (ms) is not given any more. */
const SOON = 60_000;

/** The files of a client. */
export class Files {
  /** @param {Caller} client @param {Parts} parts */
  constructor(client, parts) {
    this.#client = client;
    this.#parts = parts;
  }

  #client;
  #parts;
  /** @type {Map<number, Promise<Link>>} */
  #links = new Map();

  /**
   * R1: send a file.  When this returns it is stored here, and will be uploaded and sent even
   * if this page is closed: by another tab, or the next time.
   * @param {number} conv @param {Blob} file @param {Sending} [options]
   * @returns {Promise<Message>} state `uploading`
   * @throws {ImdError} `too_large` (`most` bytes are allowed), `unauthorized`, `storage`
   */
  async send(conv, file, { name, text, signal, onProgress } = {}) {
    signal?.throwIfAborted();
    const user = this.#parts.user();
    if (!user) throw new ImdError("unauthorized", "nobody is logged in");
    const most = (await this.#parts.store().account()).limits?.file_bytes ?? Infinity;
    if (file.size > most)
      throw new ImdError("too_large", `a file has at most ${most} bytes`, most);
    const upload = {
      id: newId(),
      conv,
      name: nameOf(name ?? /** @type {any} */ (file).name ?? ""),
      size: file.size,
      mime: file.type.length <= MIME && file.type ? file.type : "application/octet-stream",
      since: wall(),
      ...(text ? { text: plain(text) } : {}),
    };
    const message = uploadMessage(await this.#parts.store().addUpload(user, upload, file), user);
    this.#parts.tell([["message", { message }], ["conversations", {}]]);
    if (onProgress) this.#watch(message.id, onProgress);
    signal?.addEventListener("abort", () => void this.cancel(message.id).catch(() => {}));
    this.#parts.look();
    return message;
  }

  /** @param {string} id @param {(sent: number, size: number) => void} hear */
  #watch(id, hear) {
    const ended = new AbortController();
    const { signal } = ended;
    const client = this.#client;
    /** @param {string} name @param {(detail: any) => void} act */
    const on = (name, act) =>
      client.addEventListener(name, (/** @type {any} */ { detail }) => act(detail), { signal });
    on("progress", (detail) => detail.id === id && hear(detail.sent, detail.size));
    on("upload", ({ message }) => message.id === id && message.state === "pending" && ended.abort());
    on("discarded", (detail) => detail.id === id && ended.abort());
  }

  /** Go on with an upload that failed; its message keeps its id.
   * @param {string} id @returns {Promise<Message>} @throws {ImdError} `not_found` */
  async retry(id) {
    const upload = await this.#parts.store().retryUpload(id);
    const message = uploadMessage(upload, this.#parts.user());
    this.#parts.tell([["upload", { message }], ["conversations", {}]]);
    this.#parts.look();
    return message;
  }

  /** Forget a file that is not uploaded yet, or failed to be.
   * @param {string} id @throws {ImdError} `not_found`: it is too late, or it never was */
  async cancel(id) {
    const { conv } = await this.#parts.store().dropUpload(id);
    this.#parts.tell([["discarded", { conv, id }], ["conversations", {}]]);
    this.#parts.look();
  }

  /** The bytes of a file that is not uploaded yet.
   * @param {string} id @returns {Promise<Blob | undefined>} */
  async local(id) {
    return this.#parts.store().blob(id);
  }

  /**
   * Where the file of a message can be read for some minutes by whoever has the address, as an
   * `<img>` or a download.  `renew`: also if the last one should still work.
   * @param {number} conv @param {number} seq @param {{renew?: boolean}} [options]
   * @returns {Promise<Link>} @throws {ImdError} `not_found`, `offline` …
   */
  async link(conv, seq, { renew = false } = {}) {
    const { items } = await this.#client.history(conv, { before: seq + 1, limit: 1 });
    const message = items.find((item) => item.seq === seq);
    if (message?.kind !== "file") throw new ImdError("not_found", "there is no file");
    const { file } = message.body;
    const known = await this.#links.get(file)?.catch(() => null);
    if (known && !renew && known.expires - wall() > SOON) return known;
    const asked = this.#ask(file);
    this.#links.set(file, asked);
    return asked;
  }

  /** @param {number} file */
  async #ask(file) {
    const { url, expires } = await this.#client.call("file.link", { file });
    return { url: addressOf(this.#parts.url, url), expires };
  }
}

/** What the server takes as a text. @param {string} text */
function plain(text) {
  return text.replace(/\0/g, "").replace(/\p{Surrogate}/gu, "\ufffd");
}

/** The end of a long name says what it is. @param {string} given */
function nameOf(given) {
  const letters = [...plain(given)];
  if (letters.length <= NAME) return letters.join("") || "file";
  return [...letters.slice(0, NAME - 32), ...letters.slice(-32)].join("");
}
