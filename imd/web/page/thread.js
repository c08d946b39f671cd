// @ts-check
/** A conversation: its messages, scrolling back without end, and what was read. @module */

import { Bubble, oneLine } from "./bubble.js";
import { Composer } from "./composer.js";
import { takeDrops } from "./drops.js";
import { avatar, called, fill, h, icon, iconButton } from "./dom.js";
import { explainFile, nameOf } from "./file.js";
import { explain, t } from "./language.js";
import { Rows } from "./rows.js";

/** @import {Client} from "../imd.js" */
/** @import {Conversation, Message} from "../client/views.js" */

/** Messages that are asked for at a time. */
const PAGE = 60;
/** So close (px) to the end counts as being there. */
const NEAR = 60;

/** The view of one conversation; `close` ends it. */
export class Thread {
  /** @param {Client} client @param {Conversation} conversation
   * @param {{back: () => void, profile: () => void, announce: (text: string) => void}} actions */
  constructor(client, conversation, actions) {
    this.#client = client;
    this.#conversation = conversation;
    this.#announce = actions.announce;
    this.conv = conversation.conv;
    this.#name = called(conversation.peer);
    this.composer = new Composer(this.conv, this.#name, (text) => this.#send(text), (files) =>
      void this.#attach(files),
    );
    this.#build(actions);
    takeDrops(this.element, {
      name: this.#name,
      open: () => !this.composer.element.hidden,
      take: (files, folders) => void this.#attach(files, folders),
    });
    this.#listen();
    this.opened = this.#open();
  }

  #client;
  #conversation;
  #announce;
  #name;
  #listening = new AbortController();
  #more = false;
  #loading = false;
  #told = 0;
  #missed = 0;
  /** @type {Rows} */
  #rows = this.#fresh(0);

  /** @param {number} read */
  #fresh(read) {
    const refuse = (/** @type {any} */ error) => this.composer.refuse(explain(error));
    const actions = {
      refuse: (/** @type {string} */ why) => this.composer.refuse(why),
      cancel: (/** @type {Message} */ { id }) => void this.#client.files.cancel(id).catch(() => {}),
      retry: (/** @type {Message} */ { id }) => void this.#client.retry(id).catch(refuse),
      discard: (/** @type {Message} */ { id }) => void this.#client.discard(id).catch(refuse),
    };
    return new Rows((message) => new Bubble(this.#client, message, this.#name, actions), read);
  }

  /** @param {{back: () => void, profile: () => void}} actions */
  #build({ back, profile }) {
    const { peer } = this.#conversation;
    this.#title = h("h1", { class: "name", dir: "auto" });
    const about = h(
      "button",
      { type: "button", class: "who", "aria-label": t("thread.profile", { name: this.#name }) },
      avatar(peer.id, this.#name),
      this.#title,
    );
    about.addEventListener("click", profile);
    this.#top = h("div", { class: "top" });
    this.#blocks = h("div", {}, this.#rows.element);
    this.#scroller = h(
      "div",
      { class: "scroller", tabindex: "0", role: "region", "aria-label": t("thread.messages") },
      h("div", { class: "messages" }, this.#top, this.#blocks),
    );
    this.#latest = h(
      "button",
      { type: "button", class: "latest", hidden: true, "aria-label": t("thread.latest") },
      h("span", { class: "badge", hidden: true }),
      icon("down"),
    );
    this.#note = h("p", { class: "closed", hidden: true });
    this.element = h(
      "section",
      { class: "thread", "aria-label": t("thread.label", { name: this.#name }) },
      h("header", {}, iconButton("back", t("thread.back"), back, { class: "round back" }), about),
      h("div", { class: "middle" }, this.#scroller, this.#latest),
      this.#note,
      this.composer.element,
    );
    this.rename(peer);
  }

  /** @type {any} */
  #title;
  /** @type {any} */
  #top;
  /** @type {any} */
  #blocks;
  /** @type {any} */
  #scroller;
  /** @type {any} */
  #latest;
  /** @type {any} */
  #note;

  /** @param {{name: string, display?: string}} peer */
  rename(peer) {
    fill(this.#title, called(peer), !!peer.display && h("span", { class: "login" }, peer.name));
  }

  /** Whether one may write. @param {string | undefined} state of the friendship */
  friendship(state) {
    const open = state === undefined || state === "accepted";
    this.#note.hidden = open;
    this.composer.element.hidden = !open;
    const key = state === "blocked" ? "thread.blocked" : "thread.closed";
    this.#note.textContent = open ? "" : t(key, { name: this.#name });
  }

  #listen() {
    const { signal } = this.#listening;
    const client = this.#client;
    /** @param {string} name @param {(detail: any) => void} act */
    const on = (name, act) => {
      const mine = (/** @type {any} */ { detail }) => {
        if ((detail.conv ?? detail.message?.conv) === this.conv) act(detail);
      };
      client.addEventListener(name, mine, { signal });
    };
    on("message", ({ message }) => this.#arrived(message));
    on("sent", ({ message }) => this.#rows.put(message));
    on("failed", ({ message }) => this.#failedSending(message));
    on("upload", ({ message }) => this.#rows.put(message));
    on("progress", ({ id, sent, size }) =>
      this.#rows.advance(client.account?.id ?? 0, id, sent, size),
    );
    on("discarded", ({ id }) => this.#rows.drop(client.account?.id ?? 0, id));
    on("withdrawn", () => void this.#open());
    client.addEventListener("stale", () => void this.#catchUp().catch(() => {}), { signal });
    on("receipt", ({ user, delivered, read }) => {
      if (user !== client.account?.id) this.#rows.receipt(delivered, read);
    });
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#size.observe(this.#scroller);
    this.#latest.addEventListener("click", () => this.#toEnd());
    addEventListener("focus", () => this.seen(), { signal });
    document.addEventListener("visibilitychange", () => this.seen(), { signal });
  }

  /** The view is not needed any more. */
  close() {
    this.#listening.abort();
    this.#watch?.disconnect();
    this.#size.disconnect();
    this.#rows.close();
  }

  async #open() {
    this.#watch?.disconnect();
    this.#rows.close();
    const rows = this.#fresh(this.#conversation.unread ? this.#conversation.read : Infinity);
    this.#rows = rows;
    fill(this.#blocks, rows.element);
    await this.#older(true);
    if (this.#gone(rows)) return;
    rows.sealed = true;
    this.#toEnd();
    this.#watch = new IntersectionObserver(
      (entries) => entries.at(-1)?.isIntersecting && void this.#older(),
      { root: this.#scroller, rootMargin: "2000px 0px 0px 0px" },
    );
    this.#watch.observe(this.#top);
    this.seen();
  }

  /** @type {IntersectionObserver | undefined} */
  #watch;
  #size = new ResizeObserver(() => this.#look());

  /** Show what nobody told of. */
  async #catchUp() {
    await this.opened;
    const rows = this.#rows;
    const { newest } = rows;
    const { items } = await this.#client.history(this.conv, { limit: PAGE });
    if (this.#gone(rows)) return;
    const first = items.find(({ seq }) => seq !== null)?.seq ?? 0;
    if (first > newest + 1) await this.#open();
    else
      for (const message of items)
        if (message.seq !== null && message.seq <= newest) rows.put(message);
        else this.#arrived(message);
  }

  /** Rows near to what is seen get elements. */
  #look() {
    this.#rows.look(-this.#scroller.scrollTop, this.#scroller.clientHeight);
  }

  /** Load what is before the oldest message here. */
  async #older(first = false) {
    if (!first && (this.#loading || !this.#more)) return;
    const rows = this.#rows;
    this.#loading = true;
    fill(this.#top, h("p", { class: "hint" }, t("thread.older")));
    try {
      const before = first ? undefined : (rows.oldest ?? undefined);
      const { items, more } = await this.#client.history(this.conv, { before, limit: PAGE });
      if (this.#gone(rows)) return;
      this.#more = more && items.some(({ seq }) => seq !== null);
      rows.prepend(items);
      this.#beginning();
    } catch {
      if (!this.#gone(rows)) this.#failed(first);
    } finally {
      if (rows === this.#rows) this.#loading = false;
    }
    this.#again();
  }

  /** The view was closed, or shows others. @param {Rows} rows */
  #gone(rows) {
    return rows !== this.#rows || this.#listening.signal.aborted;
  }

  /** The top may still be near: an observer tells changes only. */
  #again() {
    if (!this.#watch || !this.#more || this.#loading) return;
    this.#watch.unobserve(this.#top);
    this.#watch.observe(this.#top);
  }

  #beginning() {
    const text = t("thread.empty", { name: this.#name });
    fill(this.#top, !this.#more && h("p", { class: "hint" }, text));
  }

  /** @param {boolean} first */
  #failed(first) {
    this.#more = false;
    const again = h("button", { type: "button", class: "plain" }, t("thread.again"));
    again.addEventListener("click", () => {
      this.#more = true;
      void this.#older(first);
    });
    fill(this.#top, h("p", { class: "hint" }, t("thread.failed"), " ", again));
  }

  /** @param {Message} message */
  #arrived(message) {
    const near = this.#near;
    const high = this.#scroller.scrollHeight;
    if (!this.#rows.put(message)) return;
    // Positions count from the end, which is further away now.
    if (!near) this.#scroller.scrollTop -= this.#scroller.scrollHeight - high;
    if (near || message.mine) this.#toEnd();
    else this.#missed += 1;
    if (!message.mine) {
      this.#announce(t("thread.announce", { name: this.#name, text: oneLine(message) }));
    }
    this.#scrolled();
  }

  /** The view counts from its end: the scroller is laid out in reverse. */
  get #near() {
    return this.#scroller.scrollTop > -NEAR;
  }

  #toEnd() {
    this.#scroller.scrollTop = 0;
    this.#scrolled();
  }

  #scrolled() {
    this.#look();
    const near = this.#near;
    if (near) this.#missed = 0;
    this.#latest.hidden = near;
    const badge = this.#latest.firstElementChild;
    badge.hidden = !this.#missed;
    badge.textContent = String(this.#missed);
    if (near) this.seen();
  }

  /** R7: what is in view on a page that is looked at was read. */
  seen() {
    const newest = this.#rows.newest;
    const looking = document.visibilityState === "visible" && document.hasFocus();
    if (!looking || !this.#near || newest <= this.#told) return;
    this.#told = newest;
    this.#client.read(this.conv, newest).catch(() => (this.#told = 0));
  }

  /** A text is looked at while it is sent; a file may fail when nobody looks any more.
   * @param {Message} message */
  #failedSending(message) {
    this.#rows.put(message);
    if (message.kind !== "file") return;
    this.#announce(`${nameOf(message.body)}: ${t("state.failed")}. ${explainFile(message)}`);
  }

  /** @param {File[]} files @param {boolean} [folders] there were some as well */
  async #attach(files, folders = false) {
    const wrong = folders ? [t("upload.folder")] : [];
    for (const file of files) {
      try {
        await this.#client.files.send(this.conv, file);
        this.#toEnd();
      } catch (error) {
        wrong.push(`${nameOf(file)}: ${explainFile(error)}`);
      }
    }
    if (wrong.length) this.composer.refuse(wrong.join("\n"));
    this.composer.field.focus();
  }

  /** @param {string} text */
  async #send(text) {
    await this.#client.send(this.conv, text);
    this.#toEnd();
  }
}
