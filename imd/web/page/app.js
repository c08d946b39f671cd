// @ts-check
/** The page as a whole: who is in, which conversation is open, which keys do what. @module */

import { Banner } from "./banner.js";
import { avatar, fill, h, icon, iconButton, spoken } from "./dom.js";
import { Entry } from "./entry.js";
import { t } from "./language.js";
import { List, addressOf } from "./list.js";
import { people } from "./people.js";
import { settings } from "./settings.js";
import { Thread } from "./thread.js";

/** @import {Client} from "../imd.js" */
/** @import {Conversation} from "../client/views.js" */

/** Codes of a state "refused" after which only a login helps. */
const REVOKED = ["unauthorized", "4501", "4504"];

/** Whoever comes next shall not see what was written, nor with whom. */
function forgetDrafts() {
  try {
    sessionStorage.clear();
  } catch {
    // Storage is refused, so nothing is in it.
  }
  if (location.hash) history.replaceState(null, "", location.pathname);
}

/** Shows the state of a client in an element. */
export class App {
  /** @param {Client} client @param {HTMLElement} root */
  constructor(client, root) {
    this.#client = client;
    this.#root = root;
    this.#live = h("div", { class: "spoken", "aria-live": "polite" });
    document.body.append(this.#live);
    client.addEventListener("state", () => this.#state());
    client.addEventListener("account", () => this.show());
    client.addEventListener("conversations", () => this.#soon());
    client.addEventListener("friends", () => this.#soon());
    addEventListener("hashchange", () => void this.#route());
    addEventListener("keydown", (event) => this.#key(event));
  }

  #client;
  #root;
  #live;
  /** @type {Conversation[]} */
  #conversations = [];
  /** @type {import("../client/friends.js").Friend[]} */
  #friends = [];
  /** @type {Thread | null} */
  #thread = null;
  /** @type {List | null} */
  #list = null;
  /** @type {Banner | null} */
  #banner = null;
  #waiting = false;
  /** How often was asked for what is shown, and which of the answers is shown. */
  #asked = 0;
  #found = 0;
  #revoked = false;

  /** Draw everything anew: somebody came or went, or another language was chosen. */
  show() {
    document.title = t("app.name");
    for (const box of document.querySelectorAll("dialog")) box.close();
    this.#thread?.close();
    this.#thread = this.#list = this.#banner = null;
    this.#revoked = this.#isRevoked();
    if (this.#client.account && !this.#revoked) this.#inside();
    else this.#outside();
  }

  #isRevoked() {
    const { state, reason } = this.#client;
    return state === "refused" && REVOKED.includes(reason?.code ?? "");
  }

  #state() {
    this.#banner?.update();
    const revoked = this.#isRevoked();
    // Whoever logs in again keeps the form until that succeeds: it says what is wrong.
    if (revoked !== this.#revoked && (revoked || this.#client.state === "ready")) this.show();
  }

  #outside() {
    const notice = this.#revoked ? t("entry.revoked") : "";
    if (!this.#revoked) forgetDrafts();
    const entry = new Entry(this.#client, notice, () => this.show());
    fill(this.#root, entry.element);
    entry.focus();
  }

  #inside() {
    this.#list = new List(() => this.#people());
    this.#banner = new Banner(this.#client);
    this.#requests = h("span", { class: "badge", hidden: true });
    const name = this.#client.account?.name ?? "";
    const add = iconButton("people", t("people.title"), () => this.#people());
    add.append(this.#requests);
    const header = h(
      "header",
      {},
      avatar(this.#client.account?.id ?? 0, name),
      h("h1", { class: "name" }, name),
      add,
      iconButton("settings", t("settings.title"), () => this.#settings()),
    );
    this.#side = h("div", { class: "side" }, header, this.#list.element);
    this.#main = h("div", { class: "main" });
    this.#frame = h("main", { class: "frame" }, this.#side, this.#main);
    fill(this.#root, this.#banner.element, this.#frame);
    this.#blank();
    void this.#refresh().then(() => this.#route());
  }

  /** @type {any} */
  #requests;
  /** @type {any} */
  #side;
  /** @type {any} */
  #main;
  /** @type {any} */
  #frame;

  #blank() {
    const hint = t("thread.nothingHint", { key: "Ctrl K" });
    const words = [h("h2", {}, t("thread.nothing")), h("p", {}, hint)];
    fill(this.#main, h("div", { class: "empty" }, icon("chat"), ...words));
    this.#frame.dataset.pane = "list";
  }

  /** Many changes at once are drawn once. */
  #soon() {
    if (this.#waiting || !this.#list) return;
    this.#waiting = true;
    setTimeout(() => {
      this.#waiting = false;
      void this.#refresh();
    }, 30);
  }

  async #refresh() {
    const client = this.#client;
    const list = this.#list;
    if (!list || !client.account) return;
    const asked = ++this.#asked;
    const found = await Promise.all([
      client.conversations(),
      client.friends.list().catch(() => this.#friends),
    ]);
    // Somebody else may be here by now, or something newer.
    if (list !== this.#list || asked < this.#found) return;
    this.#found = asked;
    [this.#conversations, this.#friends] = found;
    list.update(this.#conversations, this.#thread?.conv ?? null);
    this.#count();
    this.#befriended();
    if (!this.#thread) void this.#route();
  }

  #count() {
    const unread = this.#conversations.reduce((sum, { unread }) => sum + unread, 0);
    document.title = unread ? t("app.title", { count: unread }) : t("app.name");
    const asking = this.#friends.filter(({ state }) => state === "pending").length;
    this.#requests.hidden = !asking;
    fill(this.#requests, String(asking), spoken(t("people.requests", { count: asking })));
  }

  /** The open conversation follows the friendship. */
  #befriended() {
    const thread = this.#thread;
    const conversation = this.#conversations.find(({ conv }) => conv === thread?.conv);
    if (!thread || !conversation) return;
    thread.rename(conversation.peer);
    const friend = this.#friends.find(({ user }) => user === conversation.peer.id);
    if (this.#friends.length || this.#client.state === "ready")
      thread.friendship(friend?.state ?? "removed");
  }

  // -- which conversation

  get #wanted() {
    const [, id] = location.hash.match(/^#\/c\/(\d{1,16})$/) ?? [];
    return id ? Number(id) : null;
  }

  async #route() {
    const wanted = this.#wanted;
    if (!this.#list || wanted === (this.#thread?.conv ?? null)) return;
    const conversation = this.#conversations.find(({ conv }) => conv === wanted);
    this.#thread?.close();
    this.#thread = null;
    if (conversation) this.#open(conversation);
    else this.#blank();
    this.#list.update(this.#conversations, this.#thread ? wanted : null);
  }

  /** @param {Conversation} conversation */
  #open(conversation) {
    this.#thread = new Thread(this.#client, conversation, {
      back: () => this.#back(),
      profile: () => this.#people(),
      announce: (text) => (this.#live.textContent = text),
    });
    fill(this.#main, this.#thread.element);
    this.#frame.dataset.pane = "thread";
    this.#befriended();
    // On a touch screen the focus would bring the keyboard up.
    if (matchMedia("(hover: hover)").matches) this.#thread.composer.field.focus();
  }

  /** @param {number | null} conv */
  #go(conv) {
    if (conv !== null) location.hash = addressOf(conv);
  }

  #back() {
    const was = this.#thread?.conv;
    history.pushState(null, "", location.pathname);
    void this.#route();
    const link = this.#side.querySelector(`a[href="${addressOf(was ?? 0)}"]`);
    (link ?? this.#list?.filter)?.focus();
  }

  #people() {
    people(this.#client, (conv) => this.#go(conv));
  }

  #settings() {
    settings(this.#client, () => this.show());
  }

  // -- keys

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.#list || event.isComposing || document.querySelector("dialog[open]")) return;
    const act = this.#action(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @param {KeyboardEvent} event @returns {(() => void) | null} */
  #action({ key, ctrlKey, metaKey, altKey }) {
    const list = /** @type {List} */ (this.#list);
    const control = ctrlKey || metaKey;
    if (control && key.toLowerCase() === "k") return () => list.filter.focus();
    if (control && key === ",") return () => this.#settings();
    if (altKey && key === "ArrowDown") return () => this.#go(list.beside(1));
    if (altKey && key === "ArrowUp") return () => this.#go(list.beside(-1));
    if (key === "Escape" && this.#thread) return () => this.#back();
    return null;
  }
}
