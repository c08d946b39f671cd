// @ts-check
/** A file in a message: what it is, how far it got, and how to get it. @module */

import { fill, h, icon, iconButton } from "./dom.js";
import { bytes, explain, t } from "./language.js";
import { Picture, isPicture } from "./picture.js";
import { textOf } from "./text.js";

/** @import {Client} from "../imd.js" */
/** @import {Message} from "../client/views.js" */

/** What shows a name as another one than it is: controls, and those of direction. */
const DECEIVING = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;
const EXTENSION = /\.([a-z\d]{1,5})$/i;

/** A file's name, as it is shown. @param {Message["body"]} body */
export function nameOf({ name }) {
  return String(name ?? "").replace(DECEIVING, "\ufffd");
}

/** What a code means for a file. @param {any} error @returns {string} */
export function explainFile(error) {
  const { code, most } = error;
  if (code === "too_large" && most) return t("upload.too_large", { most: bytes(most) });
  const known = ["full", "limit", "unreadable", "storage", "no_file", "not_found"].includes(code);
  if (known || code === "too_large")
    return t(/** @type {"upload.full"} */ (code === "too_large" ? "upload.large" : `upload.${code}`));
  return explain(error);
}

/** The file of one message. */
export class FileView {
  /** @param {Client} client @param {Message} message
   * @param {{cancel: (m: Message) => void, refuse: (why: string) => void}} actions */
  constructor(client, message, actions) {
    this.#client = client;
    this.#actions = actions;
    this.#message = message;
    this.#name = nameOf(message.body);
    this.#picture = isPicture(message) ? new Picture(client, message, this.#name) : null;
    this.#about = h("small", {}, this.#kind());
    this.#press = h("span", {});
    this.#bar = h("div", { class: "done" });
    const label = t("file.uploading", { name: this.#name });
    const values = { "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": label };
    this.#progress = h("div", { class: "progress", role: "progressbar", ...values }, this.#bar);
    const words = h("span", { class: "about" }, h("bdi", { class: "title", title: this.#name }, this.#name), this.#about);
    const { text } = message.body;
    this.elements = [
      ...(this.#picture ? [this.#picture.element] : []),
      h("div", { class: "file" }, icon("file"), words, this.#press),
      this.#progress,
      ...(text ? textOf(text) : []),
    ];
    this.update(message);
  }

  #client;
  #actions;
  #message;
  #name;
  #picture;
  #about;
  #press;
  #bar;
  #progress;
  #drawn = "";

  /** Type and size. */
  #kind() {
    const { mime, size, name } = this.#message.body;
    const [, extension] = String(name).match(EXTENSION) ?? [];
    return `${extension?.toUpperCase() ?? mime} · ${bytes(size)}`;
  }

  /** @param {Message} message */
  update(message) {
    this.#message = message;
    this.#picture?.update(message);
    const { state, seq } = message;
    this.#progress.hidden = state !== "uploading";
    if (state !== "uploading") fill(this.#about, this.#kind());
    const press = state === "uploading" ? "cancel" : seq === null ? "" : "download";
    if (press !== this.#drawn) this.#draw(press);
  }

  /** @param {string} press */
  #draw(press) {
    this.#drawn = press;
    const name = this.#name;
    const cancel = () => this.#actions.cancel(this.#message);
    fill(
      this.#press,
      press === "cancel" && iconButton("close", t("file.cancel", { name }), cancel),
      press === "download" &&
        iconButton("download", t("file.download", { name }), () => void this.#download()),
    );
  }

  /** @param {number} sent bytes that are at the server @param {number} size of all */
  advance(sent, size) {
    if (this.#message.state !== "uploading") return;
    const percent = size ? Math.floor((100 * sent) / size) : 100;
    this.#progress.setAttribute("aria-valuenow", String(percent));
    this.#bar.style.width = `${percent}%`;
    fill(this.#about, t("file.progress", { sent: bytes(sent), size: bytes(size) }));
  }

  /** Links expire, so each press asks for one. */
  async #download() {
    const { conv, seq, body } = this.#message;
    try {
      const { url } = await this.#client.files.link(conv, /** @type {number} */ (seq));
      h("a", { href: url, download: body.name }).click();
    } catch (error) {
      this.#actions.refuse(explainFile(error));
    }
  }
}
