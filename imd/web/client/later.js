// @ts-check
/** Loads what brings files to the server with the first connection, not with the page. @module */

/** @import {Parts, Uploads} from "./uploads.js" */

/** Stands for `Uploads`. */
export class LaterUploads {
  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
  }

  #parts;
  /** @type {Promise<Uploads> | null} */
  #loaded = null;

  /** See `Uploads`.  If they cannot be loaded now, neither could they bring anything. */
  async look() {
    this.#loaded ??= import("./uploads.js").then(({ Uploads }) => new Uploads(this.#parts));
    const uploads = await this.#loaded.catch(() => (this.#loaded = null));
    await uploads?.look();
  }

  /** See `Uploads`. */
  async stop() {
    const uploads = await this.#loaded?.catch(() => null);
    await uploads?.stop();
  }
}
