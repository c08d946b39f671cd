// @ts-check
/** Settings: profile, password, devices, language, keyboard, log out. @module */

import { dialog, field, form, sure } from "./dialog.js";
import { fill, h } from "./dom.js";
import { LANGUAGES, ago, explain, language, moment, setLanguage, t } from "./language.js";

/** @import {Client} from "../imd.js" */

/** @typedef {{device: number, label: string, seen: number, current?: boolean}} Device */

/** The dialog. @param {Client} client @param {() => void} redraw after another language was chosen */
export function settings(client, redraw) {
  const chosen = () => {
    box.close();
    redraw();
    settings(client, redraw);
  };
  const content = [profile(client), languages(chosen), devices(client), password(client), keys()];
  const leave = h("button", { type: "button", class: "danger wide" }, t("settings.logout"));
  leave.addEventListener("click", async () => {
    if (!(await sure(t("settings.logoutAsk"), t("settings.logoutHint"), t("settings.logout")))) return;
    box.close();
    await client.logout();
  });
  const box = dialog(t("settings.title"), ...content, leave);
  return box;
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  return h("section", {}, h("h3", {}, title), ...content);
}

/** @param {Client} client */
function profile(client) {
  const name = client.account?.name ?? "";
  const hint = t("settings.displayHint", { name });
  const display = field(t("settings.display"), { maxlength: 64, dir: "auto" }, hint);
  client.call("account.get").then(
    (account) => (display.input.value ||= account.display ?? ""),
    () => {},
  );
  const act = async () => {
    await client.call("account.update", { display: display.input.value.trim() });
    return t("settings.saved");
  };
  return section(t("settings.profile"), form([display.element], t("settings.save"), act));
}

/** A choice of languages. @param {() => void} chosen */
export function languages(chosen) {
  const select = h("select", { "aria-label": t("language.label") });
  for (const [tag, name] of Object.entries(LANGUAGES))
    select.append(h("option", { value: tag, lang: tag, selected: tag === language() }, name));
  select.addEventListener("change", () => {
    setLanguage(select.value);
    chosen();
  });
  return section(t("language.label"), select);
}

/** @param {Client} client */
function devices(client) {
  const list = h("ul", {});
  const said = h("p", { class: "said error", role: "alert" });
  const show = async () => {
    try {
      /** @type {Device[]} */
      const known = await client.devices.list();
      // This one first, then the one that was used last.
      known.sort((a, b) => Number(!!b.current) - Number(!!a.current) || b.seen - a.seen);
      fill(list, known.map(row));
      said.textContent = "";
    } catch (error) {
      said.textContent = explain(error);
    }
  };
  /** @param {Device} one */
  const row = ({ device, label, seen, current }) => {
    const when = h("time", { title: moment(seen) }, t("settings.seen", { when: ago(seen) }));
    const about = current ? h("span", { class: "here" }, t("settings.thisDevice")) : when;
    const words = { "aria-label": t("settings.revokeNamed", { name: label }) };
    const out = h("button", { type: "button", class: "plain", ...words }, t("settings.revoke"));
    const wrong = (/** @type {any} */ error) => (said.textContent = explain(error));
    out.addEventListener("click", () => client.devices.revoke(device).then(show, wrong));
    const text = h("div", {}, h("div", { dir: "auto" }, label), h("small", {}, about));
    return h("li", { class: "device" }, text, !current && out);
  };
  void show();
  return section(t("settings.devices"), said, list);
}

/** @param {Client} client */
function password(client) {
  const usual = { type: "password", required: true, maxlength: 1024 };
  const old = field(t("settings.old"), { ...usual, autocomplete: "current-password" });
  const fresh = field(t("settings.new"), { ...usual, autocomplete: "new-password" });
  const again = field(t("entry.repeat"), { ...usual, autocomplete: "new-password" });
  const act = async () => {
    if (fresh.input.value !== again.input.value) return t("entry.differ");
    await client.call("account.password", { old: old.input.value, new: fresh.input.value });
    for (const { input } of [old, fresh, again]) input.value = "";
    return t("settings.changed");
  };
  const wrong = (/** @type {any} */ error) =>
    ["unauthorized", "forbidden"].includes(error?.code) ? t("settings.wrong") : explain(error);
  const name = { autocomplete: "username", value: client.account?.name, hidden: true };
  const fields = [h("input", name), ...[old, fresh, again].map(({ element }) => element)];
  return section(t("settings.password"), form(fields, t("settings.change"), act, wrong));
}

/** What keys do, as they are called on a keyboard. */
const KEYS = /** @type {const} */ ([
  ["search", ["Ctrl", "K"]],
  ["next", ["Alt", "↓"]],
  ["previous", ["Alt", "↑"]],
  ["send", ["Enter"]],
  ["line", ["Shift", "Enter"]],
  ["close", ["Esc"]],
  ["help", ["Ctrl", ","]],
]);

function keys() {
  const rows = KEYS.flatMap(([name, caps]) => [
    h("dt", {}, caps.map((cap) => h("kbd", {}, cap))),
    h("dd", {}, t(`keys.${name}`)),
  ]);
  return section(t("settings.keys"), h("dl", { class: "keys" }, rows));
}
