// @ts-check
/** The picture in a file: a preview in a frame of a fixed shape, so that nothing moves when it comes.
 * @module */

import { dialog } from "./dialog.js";
import { h, icon } from "./dom.js";
import { t } from "./language.js";

/** @import {Client} from "../imd.js" */
/** @import {Message} from "../client/views.js" */

/** What the server lets a page show. */
const SHOWN = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
/** px of the frame, at most. */
const WIDTH = 320;
const HEIGHT = 220;

/** Whether a file claims to be a picture; the server looks whether that is true.
 * @param {Message} message */
export const isPicture = ({ body }) => SHOWN.has(body.mime);

/** The preview; a press shows all of it. */
export class Picture {
  /** @param {Client} client @param {Message} message @param {string} name */
  constructor(client, message, name) {
    this.#client = client;
    this.#message = message;
    this.#name = name;
    const size = { width: WIDTH, height: HEIGHT };
    this.#image = h("img", { alt: name, loading: "lazy", decoding: "async", hidden: true, ...size });
    this.#image.addEventListener("load", () => this.#loaded());
    this.#image.addEventListener("error", () => this.#broken());
    const label = t("file.open", { name });
    this.element = h(
      "button",
      { type: "button", class: "picture", "aria-label": label, onclick: () => void this.#open() },
      icon("picture"),
      this.#image,
    );
    void this.#load(false);
  }

  #client;
  #message;
  #name;
  #image;
  #renewed = false;

  /** The same message in another state. @param {Message} message */
  update(message) {
    const committed = this.#message.seq === null && message.seq !== null;
    this.#message = message;
    if (committed && this.#image.hidden) void this.#load(false);
  }

  /** @param {boolean} renew */
  async #load(renew) {
    try {
      const url = await this.#source(renew);
      if (url) this.#image.src = url;
      this.#image.hidden = !url;
    } catch (error) {
      if (/** @type {any} */ (error).code === "offline") this.#later();
      else this.element.hidden = true;
    }
  }

  /** @param {boolean} renew @returns {Promise<string | null>} */
  async #source(renew) {
    const { conv, seq, id } = this.#message;
    if (seq !== null) return (await this.#client.files.link(conv, seq, { renew })).url;
    const blob = await this.#client.files.local(id);
    return blob ? URL.createObjectURL(blob) : null;
  }

  #later() {
    const again = () => {
      if (this.#client.state !== "ready") return;
      this.#client.removeEventListener("state", again);
      if (this.element.isConnected) void this.#load(false);
    };
    this.#client.addEventListener("state", again);
  }

  #loaded() {
    const { naturalWidth, naturalHeight, src } = this.#image;
    const small = naturalWidth < WIDTH && naturalHeight < HEIGHT;
    this.element.classList.toggle("small", small);
    URL.revokeObjectURL(src);
  }

  /** The link may have expired before it was used; otherwise it is no picture. */
  #broken() {
    this.#image.hidden = true;
    if (this.#message.seq === null || this.#renewed) {
      this.element.hidden = true;
      return;
    }
    this.#renewed = true;
    void this.#load(true);
  }

  async #open() {
    const url = await this.#source(false).catch(() => null);
    if (!url) return;
    const whole = h("img", { src: url, alt: this.#name });
    const box = dialog(this.#name, whole);
    box.classList.add("viewer");
    box.addEventListener("close", () => URL.revokeObjectURL(url));
  }
}
