// @ts-check
/** One message, as it is shown. @module */

import { fill, h, icon, spoken } from "./dom.js";
import { FileView, explainFile, nameOf } from "./file.js";
import { explain, moment, t, time } from "./language.js";
import { textOf } from "./text.js";

/** @import {Client} from "../imd.js" */
/** @import {Message} from "../client/views.js" */
/** @typedef {{retry: (m: Message) => void, discard: (m: Message) => void,
 *   cancel: (m: Message) => void, refuse: (why: string) => void}} Actions */

/** The message in one line. @param {Message} message */
export function oneLine({ kind, body }) {
  if (kind === "erased") return t("list.erased");
  if (kind !== "text") return t("list.file", { name: nameOf(body) });
  return body.text.replace(/\s+/gu, " ").slice(0, 200);
}

/** A row of the message view; `update` shows another state of the same message. */
export class Bubble {
  /** @param {Client} client @param {Message} message @param {string} name of the sender
   * @param {Actions} actions */
  constructor(client, message, name, actions) {
    this.#actions = actions;
    this.#meta = h("span", { class: "meta" });
    this.#failure = h("div", { class: "failure", hidden: true });
    const who = message.mine ? t("thread.mine") : t("thread.from", { name });
    if (message.kind === "file") this.#file = new FileView(client, message, actions);
    const content = this.#file?.elements ?? textOf(message.body.text ?? oneLine(message));
    const style = this.#file ? "bubble has-file" : "bubble";
    const bubble = h("div", { class: style }, spoken(who), content, this.#meta);
    this.element = h("li", { class: "row" }, bubble, this.#failure);
    this.update(message);
  }

  #actions;
  #meta;
  #failure;
  /** @type {FileView | null} */
  #file = null;

  /** @param {Message} message */
  update(message) {
    this.message = message;
    const { at, mine, state } = message;
    this.element.className = `row ${mine ? "mine" : "theirs"} is-${state}`;
    if (this.opens) this.element.classList.add("opens");
    const stamp = h("time", { datetime: new Date(at).toISOString(), title: moment(at) }, time(at));
    fill(this.#meta, stamp, mine && tick(state));
    this.#file?.update(message);
    this.#failure.hidden = state !== "failed";
    if (state === "failed") this.#explain(message);
  }

  /** @param {Message} message */
  #explain(message) {
    const press = (/** @type {"retry" | "discard"} */ act) =>
      h(
        "button",
        { type: "button", class: "plain", onclick: () => this.#actions[act](message) },
        t(`state.${act}`),
      );
    const reason = h("span", {}, `${t("state.failed")}. ${this.#file ? explainFile(message) : explain(message)}`);
    fill(this.#failure, reason, press("retry"), press("discard"));
  }

  /** @param {number} sent bytes that are at the server @param {number} size of all */
  advance(sent, size) {
    this.#file?.advance(sent, size);
  }

  /** Whether its long text was opened by the user. */
  get unfolded() {
    return !!this.element.querySelector(".fold[aria-expanded=true]");
  }

  /** Whether it begins a group of messages that belong together. @param {boolean} opens */
  set first(opens) {
    this.opens = opens;
    this.element.classList.toggle("opens", opens);
  }
}

/** @param {string} state */
function tick(state) {
  const known = /** @type {"sent"} */ (state);
  return h("span", { class: `tick ${state}` }, icon(known), spoken(t(`state.${known}`)));
}
