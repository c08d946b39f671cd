// @ts-check
/** What is to be known about the connection; nothing while all is well. @module */

import { fill, h } from "./dom.js";
import { t } from "./language.js";

/** @import {Client} from "../imd.js" */

/** Connecting (ms) is worth a word only if it takes so long. */
const PATIENCE = 1500;

/** A line at the top. */
export class Banner {
  /** @param {Client} client */
  constructor(client) {
    this.#client = client;
    this.element = h("div", { class: "banner", role: "status" });
    this.update();
  }

  #client;
  #timer = 0;

  /** The state of the client changed. */
  update() {
    clearTimeout(this.#timer);
    const { state, reason, durable } = this.#client;
    if (state === "connecting") {
      if (!this.element.childElementCount) this.#later();
      return;
    }
    if (state === "waiting") this.#waiting(reason?.code);
    else if (state === "refused") this.#refused(reason);
    else fill(this.element, !durable && state === "ready" && h("p", {}, t("banner.memory")));
  }

  #later() {
    const show = () => fill(this.element, h("p", {}, t("banner.connecting")));
    this.#timer = setTimeout(show, PATIENCE);
  }

  /** @param {string | undefined} code */
  #waiting(code) {
    const text = h("p", {}, t(code === "storage" ? "banner.storage" : "banner.offline"));
    this.#show(text, t("banner.retry"), () => void this.#client.reconnect().catch(() => {}));
  }

  /** @param {any} reason */
  #refused(reason) {
    const old = reason?.code === "version";
    const key = old ? "banner.version" : "banner.refused";
    const text = h("p", {}, t(key, { reason: reason?.message || reason?.code || "" }));
    if (old) this.#show(text, t("banner.reload"), () => location.reload());
    else this.#show(text, t("banner.retry"), () => void this.#client.reconnect().catch(() => {}));
  }

  /** @param {Node} text @param {string} label @param {() => void} press */
  #show(text, label, press) {
    fill(this.element, text, h("button", { type: "button", class: "plain", onclick: press }, label));
  }
}
