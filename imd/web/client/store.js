// @ts-check
/**
 * What is kept in the browser: messages, conversations, the outbox, and who is logged in.
 *
 * All tabs share it.  Only the tab that holds the connection writes what comes from the server,
 * and every such transaction checks that it still is that tab (`term`): one that was frozen,
 * and woke up after another had taken over, can spoil nothing.
 * @module
 */

import { Database, got } from "./database.js";
import { FENCED, ImdError } from "./errors.js";
import { NOBODY } from "./types.js";

/** @import {Account, Log, Pending, Row, Saved, Upload, Write} from "./types.js" */
/** @typedef {{term: string, beat: number}} Lead */
/** @typedef {{log: Log | undefined, rows: Row[], outbox: Pending[], uploads: Upload[]}} Page */
/** @typedef {{log: Log, last: Row | null, own: number, pending: Pending | null,
 *   upload: Upload | null}} Summary */

const ALL = ["meta", "conversation", "message", "pending"];
const FILES = ["upload", "blob"];

/** Keys of conversation `conv` from `first` to `last`. @param {number} conv
 * @param {number} [first] @param {number} [last] */
function range(conv, first = 0, last = Infinity) {
  return IDBKeyRange.bound([conv, first], [conv, last]);
}

/** The store in IndexedDB.  Every method may throw `ImdError` with the code `storage`. */
export class IndexedStore {
  /** @param {string} name @param {() => void} outdated  see `Database` */
  constructor(name, outdated) {
    this.#db = new Database(name, outdated);
  }

  #db;
  durable = true;

  /** Try whether it can be used at all. */
  open() {
    return this.#db.open();
  }

  close() {
    return this.#db.close();
  }

  // -- the tab that leads

  /** Who leads. @returns {Promise<Lead | undefined>} */
  lead() {
    return this.#db.run(["meta"], "readonly", (tx) => got(meta(tx).get("lead")));
  }

  /** Take the lead from `old`; false if somebody else was faster.
   * @param {string} term @param {string | undefined} old */
  claim(term, old) {
    return this.#db.run(["meta"], "readwrite", async (tx) => {
      const lead = await got(meta(tx).get("lead"));
      if (lead?.term !== old) return false;
      meta(tx).put({ term, beat: 0 }, "lead");
      return true;
    });
  }

  /** Show that the leader lives. @param {string} term */
  beat(term) {
    return this.#db.run(["meta"], "readwrite", async (tx) => {
      const lead = await fenced(tx, term);
      meta(tx).put({ term, beat: lead.beat + 1 }, "lead");
    });
  }

  /** Lead no more. @param {string} term */
  resign(term) {
    return this.#db.run(["meta"], "readwrite", async (tx) => {
      if ((await got(meta(tx).get("lead")))?.term === term) meta(tx).delete("lead");
    });
  }

  /** Everything but the messages. @param {string} term @returns {Promise<Saved>} */
  load(term) {
    return this.#db.run(ALL, "readonly", async (tx) => {
      await fenced(tx, term);
      return {
        account: await accountIn(tx),
        conversations: await got(tx.objectStore("conversation").getAll()),
        outbox: await got(tx.objectStore("pending").getAll()),
      };
    });
  }

  /** Perform these writes in order, all or none.  Those that the server would not tell again
   * survive a crash of the machine. @param {string} term @param {Write[]} writes */
  write(term, writes) {
    const strict = writes.some(({ type }) => type !== "conversation");
    return this.#db.run(
      ALL,
      "readwrite",
      async (tx) => {
        await fenced(tx, term);
        for (const write of writes) perform(tx, write);
      },
      strict,
    );
  }

  /** Forget everything. @param {string} term */
  wipe(term) {
    const all = [...ALL, ...FILES];
    return this.#db.run(
      all,
      "readwrite",
      async (tx) => {
        const lead = await fenced(tx, term);
        for (const name of all) tx.objectStore(name).clear();
        meta(tx).put(lead, "lead");
      },
      true,
    );
  }

  // -- every tab

  /** Who is logged in here. @returns {Promise<Account>} */
  account() {
    return this.#db.run(["meta"], "readonly", accountIn);
  }

  /** Something small that is no part of the log. @param {string} key @returns {Promise<any>} */
  get(key) {
    return this.#db.run(["meta"], "readonly", (tx) => got(meta(tx).get(key)));
  }

  /** @param {string} key @param {unknown} value */
  async put(key, value) {
    await this.#db.run(["meta"], "readwrite", (tx) => void meta(tx).put(value, key));
  }

  /** R1: an entry at the end of the outbox, durable when this returns.  The order in which
   * such transactions commit is the order of the outbox, whichever tabs they come from.
   * `old` is one that was refused, and gives way.
   * @param {number} user @param {Omit<Pending, "order">} entry @param {string} [old]
   * @returns {Promise<Pending>} */
  append(user, entry, old) {
    return this.#db.run(
      ["meta", "pending"],
      "readwrite",
      async (tx) => {
        if ((await accountIn(tx)).user !== user) throw new ImdError("unauthorized", "logged out");
        if (old !== undefined) await dropRefused(tx, old);
        const order = Number(await got(tx.objectStore("pending").add(entry)));
        return { ...entry, order };
      },
      true,
    );
  }

  /** Forget an entry that was refused; returns it. @param {string} id */
  discard(id) {
    return this.#db.run(["pending"], "readwrite", (tx) => dropRefused(tx, id), true);
  }

  /** An entry of the outbox. @param {string} id @returns {Promise<Pending | undefined>} */
  pending(id) {
    return this.#db.run(["pending"], "readonly", (tx) =>
      got(tx.objectStore("pending").index("id").get(id)),
    );
  }

  /** The outbox after an `order`.
   * @param {string} term @param {number} order @returns {Promise<Pending[]>} */
  outboxAfter(term, order) {
    return this.#db.run(["meta", "pending"], "readonly", async (tx) => {
      await fenced(tx, term);
      return got(tx.objectStore("pending").getAll(IDBKeyRange.lowerBound(order, true)));
    });
  }

  /** All that is above a seq, ascending. @param {number} conv @param {number} above
   * @returns {Promise<Row[]>} */
  rowsAbove(conv, above) {
    return this.#db.run(["message"], "readonly", (tx) =>
      got(tx.objectStore("message").getAll(range(conv, above + 1))),
    );
  }

  /** A conversation, its last rows below `before`, and what of the outbox belongs to it.
   * @param {number} conv @param {number} before @param {number} limit
   * @returns {Promise<Page>} */
  page(conv, before, limit) {
    return this.#db.run([...ALL, "upload"], "readonly", async (tx) => {
      const log = await got(tx.objectStore("conversation").get(conv));
      const outbox = await got(
        tx.objectStore("pending").index("conv").getAll(range(conv, -Infinity)),
      );
      const uploads = await got(
        tx.objectStore("upload").index("conv").getAll(range(conv, -Infinity)),
      );
      const last = Math.min(before - 1, log?.have ?? 0);
      const rows = last < 1 ? [] : await lastRows(tx, range(conv, 0, last), limit, last);
      return { log, rows, outbox, uploads };
    });
  }

  /** Every conversation with its last message; `own` counts mine above my read cursor.
   * @returns {Promise<Summary[]>} */
  summaries() {
    return this.#db.run([...ALL, "upload"], "readonly", async (tx) => {
      const me = (await accountIn(tx)).user;
      const logs = await got(tx.objectStore("conversation").getAll());
      const found = logs.map((log) => summary(tx, log, me));
      return Promise.all(found);
    });
  }

  // -- files that are not at the server yet

  /** R1: a file to be sent, durable when this returns.
   * @param {number} user @param {Omit<Upload, "order">} upload @param {Blob} blob
   * @returns {Promise<Upload>} */
  addUpload(user, upload, blob) {
    return this.#db.run(
      ["meta", ...FILES],
      "readwrite",
      async (tx) => {
        if ((await accountIn(tx)).user !== user) throw new ImdError("unauthorized", "logged out");
        tx.objectStore("blob").put(blob, upload.id);
        const order = Number(await got(tx.objectStore("upload").add(upload)));
        return { ...upload, order };
      },
      true,
    );
  }

  /** @param {string} id @returns {Promise<Upload | undefined>} */
  upload(id) {
    return this.#db.run(["upload"], "readonly", (tx) => uploadIn(tx, id));
  }

  /** Its bytes. @param {string} id @returns {Promise<Blob | undefined>} */
  blob(id) {
    return this.#db.run(["blob"], "readonly", (tx) => got(tx.objectStore("blob").get(id)));
  }

  /** The first that was not refused. @param {string} term @returns {Promise<Upload | undefined>} */
  nextUpload(term) {
    return this.#db.run(["meta", "upload"], "readonly", async (tx) => {
      await fenced(tx, term);
      const all = await got(tx.objectStore("upload").getAll());
      return all.find(({ code }) => code === undefined);
    });
  }

  /** Change one, unless it was cancelled; what it is now.
   * @param {string} term @param {string} id @param {(old: Upload) => Upload} change
   * @returns {Promise<Upload | undefined>} */
  saveUpload(term, id, change) {
    return this.#db.run(["meta", "upload"], "readwrite", async (tx) => {
      await fenced(tx, term);
      const old = await uploadIn(tx, id);
      if (!old) return undefined;
      tx.objectStore("upload").put(change(old));
      return change(old);
    });
  }

  /** It is at the server: its message takes its place, at the end of the outbox; null if it was
   * cancelled. @param {string} term @param {Omit<Pending, "order">} entry
   * @returns {Promise<Pending | null>} */
  uploaded(term, entry) {
    return this.#db.run(
      ["meta", "pending", ...FILES],
      "readwrite",
      async (tx) => {
        await fenced(tx, term);
        const upload = await uploadIn(tx, entry.id);
        if (!upload) return null;
        forget(tx, upload);
        return { ...entry, order: Number(await got(tx.objectStore("pending").add(entry))) };
      },
      true,
    );
  }

  /** One that was refused is to be tried again. @param {string} id @returns {Promise<Upload>} */
  retryUpload(id) {
    return this.#db.run(["upload"], "readwrite", async (tx) => {
      const { code, ...upload } = (await uploadIn(tx, id)) ?? {};
      if (code === undefined) throw new ImdError("not_found", "no such failed upload");
      const again = /** @type {Upload} */ (upload);
      tx.objectStore("upload").put(again);
      return again;
    });
  }

  /** Forget one; returns it. @param {string} id @returns {Promise<Upload>} */
  dropUpload(id) {
    return this.#db.run(FILES, "readwrite", async (tx) => {
      const upload = await uploadIn(tx, id);
      if (!upload) throw new ImdError("not_found", "no such upload");
      forget(tx, upload);
      return upload;
    });
  }
}

/** @param {IDBTransaction} tx @param {string} id @returns {Promise<Upload | undefined>} */
function uploadIn(tx, id) {
  return got(tx.objectStore("upload").index("id").get(id));
}

/** @param {IDBTransaction} tx @param {Upload} upload */
function forget(tx, { id, order }) {
  tx.objectStore("upload").delete(order);
  tx.objectStore("blob").delete(id);
}

/** @param {IDBTransaction} tx */
function meta(tx) {
  return tx.objectStore("meta");
}

/** @param {IDBTransaction} tx @returns {Promise<Account>} */
async function accountIn(tx) {
  return (await got(meta(tx).get("account"))) ?? NOBODY;
}

/** @param {IDBTransaction} tx @param {string} term @returns {Promise<Lead>} */
async function fenced(tx, term) {
  const lead = await got(meta(tx).get("lead"));
  if (lead?.term !== term) throw new ImdError(FENCED, "another tab has taken over");
  return lead;
}

/** @param {IDBTransaction} tx @param {string} id @returns {Promise<Pending>} */
async function dropRefused(tx, id) {
  const entry = await got(tx.objectStore("pending").index("id").get(id));
  if (entry?.code === undefined) throw new ImdError("not_found", "no such failed message");
  tx.objectStore("pending").delete(entry.order);
  return entry;
}

/** @param {IDBTransaction} tx @param {Write} write */
function perform(tx, write) {
  switch (write.type) {
    case "message":
      return tx.objectStore("message").put(write.row);
    case "tail":
      return tx.objectStore("message").delete(range(write.conv, write.above + 1));
    case "conversation":
      return tx.objectStore("conversation").put(write.log);
    case "pending":
      return tx.objectStore("pending").put(write.entry);
    case "settled":
      return tx.objectStore("pending").delete(write.order);
    case "account":
      return meta(tx).put(write.account, "account");
  }
}

/** The last `limit` rows of a range that ends at `last`, ascending.
 * @param {IDBTransaction} tx @param {IDBKeyRange} keys @param {number} limit
 * @param {number} last @returns {Promise<Row[]>} */
async function lastRows(tx, keys, limit, last) {
  const messages = tx.objectStore("message");
  const [conv] = keys.lower;
  const dense = await got(messages.getAll(range(conv, last - limit + 1, last)));
  if (dense.length === limit) return dense;
  // What has expired left a hole, or it is the end: go step by step.
  /** @type {Row[]} */
  const rows = [];
  const request = messages.openCursor(keys, "prev");
  for (let cursor; rows.length < limit && (cursor = await got(request)); cursor.continue())
    rows.push(cursor.value);
  return rows.reverse();
}

/** @param {IDBTransaction} tx @param {Log} log @param {number} me @returns {Promise<Summary>} */
async function summary(tx, log, me) {
  const outbox = tx.objectStore("pending").index("conv");
  const newest = got(outbox.openCursor(range(log.id, -Infinity), "prev"));
  const uploads = tx.objectStore("upload").index("conv");
  const upload = got(uploads.openCursor(range(log.id, -Infinity), "prev"));
  const mine = IDBKeyRange.bound([log.id, me, log.read + 1], [log.id, me, Infinity]);
  const own = got(tx.objectStore("message").index("sender").count(mine));
  const last = await got(tx.objectStore("message").get([log.id, log.have]));
  const pending = (await newest)?.value ?? null;
  return { log, last: last ?? null, own: await own, pending, upload: (await upload)?.value ?? null };
}
