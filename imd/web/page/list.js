// @ts-check
/** The list of conversations, the one with the newest message first. @module */

import { oneLine } from "./bubble.js";
import { avatar, called, fill, h, icon, spoken } from "./dom.js";
import { brief, t } from "./language.js";

/** @import {Conversation} from "../client/views.js" */

/** Where a conversation is. @param {number} conv */
export const addressOf = (conv) => `#/c/${conv}`;

/** The list, and the field that narrows it. */
export class List {
  /** @param {() => void} add */
  constructor(add) {
    this.#add = add;
    const label = t("list.filter");
    this.filter = h("input", { type: "search", placeholder: label, "aria-label": label });
    this.filter.addEventListener("input", () => this.#show());
    this.filter.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "ArrowDown") this.#focus(0, event);
      if (event.key === "Enter") this.#list.querySelector("a")?.click();
    });
    this.#list = h("ul", { class: "conversations" });
    this.#list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    this.#empty = h("div", { class: "empty" });
    const search = h("div", { class: "search" }, icon("search"), this.filter);
    this.element = h("nav", { "aria-label": t("list.label") }, search, this.#list, this.#empty);
  }

  #add;
  #list;
  #empty;
  /** @type {Conversation[]} */
  #items = [];
  /** @type {number | null} */
  #open = null;
  /** @type {Map<number, {item: HTMLElement, link: HTMLAnchorElement, shown: string}>} */
  #made = new Map();

  /** @param {Conversation[]} items @param {number | null} open */
  update(items, open) {
    this.#items = items;
    this.#open = open;
    this.#show();
  }

  /** The conversation so many places from the open one. @param {number} step */
  beside(step) {
    const at = this.#items.findIndex(({ conv }) => conv === this.#open);
    return this.#items[Math.max(0, Math.min(this.#items.length - 1, at + step))]?.conv ?? null;
  }

  #show() {
    const wanted = this.filter.value.trim().toLowerCase();
    const match = (/** @type {Conversation} */ { peer }) =>
      `${peer.name} ${peer.display ?? ""}`.toLowerCase().includes(wanted);
    const items = this.#items.filter(match);
    const rows = items.map((item) => this.#row(item));
    const same = rows.length === this.#list.childElementCount;
    if (!same || rows.some((row, i) => row !== this.#list.children[i])) this.#replace(rows);
    const current = this.#list.querySelector("[aria-current]") ?? this.#list.querySelector("a");
    for (const link of this.#list.querySelectorAll("a")) link.tabIndex = link === current ? 0 : -1;
    this.#list.hidden = !items.length;
    this.#nothing(items.length > 0);
  }

  /** Rows change places; the one with the focus keeps it. @param {HTMLElement[]} rows */
  #replace(rows) {
    const focused = document.activeElement;
    for (const row of [...this.#list.children]) if (!rows.includes(row)) row.remove();
    // The others stay as they are: one of them may be pressed at this moment.
    rows.forEach((row, i) => {
      const there = this.#list.children[i] ?? null;
      if (row !== there) this.#list.insertBefore(row, there);
    });
    if (focused instanceof HTMLElement && this.#list.contains(focused)) focused.focus();
  }

  /** @param {boolean} some */
  #nothing(some) {
    this.#empty.hidden = some;
    if (some) return;
    if (this.#items.length) {
      fill(this.#empty, h("p", {}, t("list.none")));
      return;
    }
    const add = h("button", { type: "button", class: "primary" }, t("list.add"));
    add.addEventListener("click", () => this.#add());
    const words = [h("h2", {}, t("list.empty")), h("p", {}, t("list.emptyHint"))];
    fill(this.#empty, icon("chat"), ...words, add);
  }

  /** @param {Conversation} item */
  #row(item) {
    const made = this.#made.get(item.conv) ?? this.#new(item);
    const open = item.conv === this.#open;
    const shown = JSON.stringify([item, open, new Date().toDateString()]);
    if (made.shown !== shown) this.#draw(made.link, item, open);
    made.shown = shown;
    return made.item;
  }

  /** @param {Conversation} item */
  #new({ conv }) {
    const link = h("a", { href: addressOf(conv) });
    const made = { item: h("li", {}, link), link, shown: "" };
    this.#made.set(conv, made);
    return made;
  }

  /** @param {HTMLElement} link @param {Conversation} item @param {boolean} open */
  #draw(link, { peer, last, unread }, open) {
    const name = called(peer);
    const label = spoken(t("list.unread", { count: unread }));
    const badge = h("span", { class: "badge" }, unread > 999 ? "999+" : String(unread), label);
    const when = last && h("time", { datetime: new Date(last.at).toISOString() }, brief(last.at));
    if (open) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    link.classList.toggle("unread", unread > 0);
    fill(
      link,
      avatar(peer.id, name),
      h("span", { class: "name", dir: "auto" }, name),
      when,
      h("span", { class: "last" }, last?.mine && mark(last.state), preview(last)),
      unread > 0 && badge,
    );
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const links = [...this.#list.querySelectorAll("a")];
    const at = links.indexOf(/** @type {any} */ (document.activeElement));
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 };
    const to = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (to === undefined || event.altKey) return;
    if (to < 0) this.filter.focus();
    this.#focus(to, event);
  }

  /** @param {number} index @param {KeyboardEvent} event */
  #focus(index, event) {
    event.preventDefault();
    this.#list.querySelectorAll("a")[index]?.focus();
  }
}

/** @param {Conversation["last"]} last */
function preview(last) {
  if (!last) return h("span", {}, t("list.start"));
  const text = last.mine ? t("list.you", { text: oneLine(last) }) : oneLine(last);
  return h("bdi", {}, text);
}

/** @param {string} state */
function mark(state) {
  const known = /** @type {"sent"} */ (state);
  return h("span", { class: `tick ${state}` }, icon(known), spoken(t(`state.${known}`)));
}
