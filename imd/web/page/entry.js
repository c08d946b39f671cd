// @ts-check
/** Registering and logging in. @module */

import { field, form } from "./dialog.js";
import { fill, h } from "./dom.js";
import { LANGUAGES, explain, language, setLanguage, t } from "./language.js";

/** @import {Client} from "../imd.js" */

/** The page of somebody who is not logged in. */
export class Entry {
  /** @param {Client} client @param {string} notice why one is here @param {() => void} redraw */
  constructor(client, notice, redraw) {
    this.#client = client;
    this.#redraw = redraw;
    this.#notice = notice;
    this.element = h("main", { class: "entry" });
    this.#show(false);
  }

  #client;
  #redraw;
  #notice;

  /** @param {boolean} register @param {string} [name] */
  #show(register, name = "") {
    const user = field(
      t("entry.name"),
      { name: "user", autocomplete: "username", required: true, maxlength: 64, value: name },
      register ? t("entry.nameHint") : undefined,
    );
    const secret = (/** @type {"password" | "repeat"} */ key) =>
      field(t(`entry.${key}`), {
        type: "password",
        name: key,
        autocomplete: register ? "new-password" : "current-password",
        required: true,
        maxlength: 1024,
      });
    const [password, repeat] = [secret("password"), secret("repeat")];
    const content = [user, password, ...(register ? [repeat] : [])].map(({ element }) => element);
    const label = t(register ? "entry.register" : "entry.login");
    const act = async () => {
      if (register && password.input.value !== repeat.input.value) return t("entry.differ");
      const way = register ? "register" : "login";
      await this.#client[way](user.input.value.trim(), password.input.value);
      return "";
    };
    const other = h("button", { type: "button", class: "plain" });
    other.textContent = t(register ? "entry.toLogin" : "entry.toRegister");
    other.addEventListener("click", () => this.#show(!register, user.input.value));
    const ask = form(content, label, act, (error) => this.#wrong(error, register));
    fill(this.element, this.#card(label, ask, other));
    this.focus = () => user.input.focus();
    if (this.element.isConnected) this.focus();
  }

  focus = () => {};

  /** @param {string} label @param {Node} ask @param {Node} other */
  #card(label, ask, other) {
    this.#conflict = h("button", { type: "button", class: "plain", hidden: true });
    this.#conflict.textContent = t("entry.forget");
    this.#conflict.addEventListener("click", () => void this.#client.logout().then(this.#redraw));
    return h(
      "div",
      { class: "card" },
      h("p", { class: "brand" }, h("img", { src: "icon.svg", alt: "", width: 40, height: 40 }), t("app.name")),
      h("h1", {}, label),
      !!this.#notice && h("p", { class: "notice", role: "status" }, this.#notice),
      ask,
      this.#conflict,
      other,
      this.#languages(),
    );
  }

  /** @type {any} */
  #conflict;

  /** @param {any} error @param {boolean} register */
  #wrong(error, register) {
    this.#conflict.hidden = error?.code !== "conflict";
    if (error?.code === "bad_request" && register) return t("entry.badName");
    return error?.code === "conflict" ? t("entry.conflict") : explain(error);
  }

  #languages() {
    const buttons = Object.entries(LANGUAGES).map(([tag, name]) => {
      const press = () => {
        setLanguage(tag);
        this.#redraw();
      };
      const now = tag === language() ? { "aria-current": "true" } : {};
      return h("button", { type: "button", class: "plain", lang: tag, ...now, onclick: press }, name);
    });
    return h("div", { class: "languages", role: "group", "aria-label": t("language.label") }, buttons);
  }
}
