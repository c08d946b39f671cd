// @ts-check
/** The language of the page: words, times and dates. @module */

import { CHINESE } from "./words_zh.js";
import { ENGLISH } from "./words_en.js";

/** @typedef {keyof typeof ENGLISH} Key */

const KEPT = "imd.language";
/** @type {Record<string, Record<string, string>>} */
const WORDS = { en: ENGLISH, zh: CHINESE };
/** What each language calls itself, in its own words. */
export const LANGUAGES = Object.fromEntries(
  Object.entries(WORDS).map(([tag, words]) => [tag, words["language.self"]]),
);

let chosen = "en";

/** The tag of the language in use. */
export function language() {
  return chosen;
}

/** Take the language of last time, else the first of the browser's that there is. */
export function chooseLanguage() {
  const wanted = [kept(), ...navigator.languages].map((tag) => (tag ?? "").split("-")[0]);
  use(wanted.find((tag) => Object.hasOwn(WORDS, tag)) ?? "en");
}

/** Use a language from now on, and the next time. @param {string} tag */
export function setLanguage(tag) {
  use(tag);
  try {
    localStorage.setItem(KEPT, tag);
  } catch {
    // Storage is refused: the choice lasts as long as the page.
  }
}

function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** @type {Record<string, Intl.DateTimeFormat>} */
let formats = {};
let relative = new Intl.RelativeTimeFormat();

/** @param {string} tag */
function use(tag) {
  chosen = tag;
  const regional = navigator.languages.find((each) => each.split("-")[0] === tag) ?? tag;
  document.documentElement.lang = tag === "zh" ? "zh-Hans" : tag;
  relative = new Intl.RelativeTimeFormat(regional, { numeric: "auto" });
  const format = (/** @type {Intl.DateTimeFormatOptions} */ options) =>
    new Intl.DateTimeFormat(regional, options);
  formats = {
    time: format({ hour: "numeric", minute: "2-digit" }),
    weekday: format({ weekday: "long" }),
    short: format({ day: "numeric", month: "short" }),
    date: format({ weekday: "long", day: "numeric", month: "long" }),
    old: format({ day: "numeric", month: "long", year: "numeric" }),
    full: format({ dateStyle: "full", timeStyle: "medium" }),
  };
}

/** Words of the page, with `{name}` replaced. @param {Key} key
 * @param {Record<string, string | number>} [values] */
export function t(key, values = {}) {
  const words = WORDS[chosen][key] ?? key;
  return words.replace(/\{(\w+)\}/g, (all, name) => String(values[name] ?? all));
}

/** What a code of the protocol means to the user. @param {any} error */
export function explain(error) {
  const key = `error.${error?.code ?? "internal"}`;
  return t(/** @type {Key} */ (Object.hasOwn(ENGLISH, key) ? key : "error.internal"));
}

/** A day as a number that grows by one a day, in the user's time zone. @param {number} at */
export function dayOf(at) {
  const date = new Date(at);
  return Math.floor(Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 86400000);
}

/** The time of day. @param {number} at */
export function time(at) {
  return formats.time.format(at);
}

/** Date and time in full. @param {number} at */
export function moment(at) {
  return formats.full.format(at);
}

/** The name of a day. @param {number} at */
export function day(at) {
  const ago = dayOf(Date.now()) - dayOf(at);
  if (ago === 0 || ago === 1) return capital(relative.format(-ago, "day"));
  return (ago > 0 && ago < 300 ? formats.date : formats.old).format(at);
}

/** @param {string} text */
function capital(text) {
  const [first = ""] = text;
  return first.toLocaleUpperCase(chosen) + text.slice(first.length);
}

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

/** So many bytes, in the largest unit that fits. @param {number} count */
export function bytes(count) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  const value = count / 1024 ** power;
  /** @type {Intl.NumberFormatOptions} */
  const options = { style: "unit", unit: UNITS[power], maximumFractionDigits: value < 10 ? 1 : 0 };
  return new Intl.NumberFormat(relative.resolvedOptions().locale, options).format(value);
}

/** How long ago, in the largest unit that fits. @param {number} at */
export function ago(at) {
  // Clocks differ: what is not past yet is now.
  const seconds = Math.max(0, (Date.now() - at) / 1000);
  if (seconds < 60) return relative.format(0, "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return relative.format(-Math.floor(seconds / 86400), "day");
}

/** As short as a list wants it: a time today, then a day. @param {number} at */
export function brief(at) {
  const ago = dayOf(Date.now()) - dayOf(at);
  if (ago <= 0) return time(at);
  if (ago < 7) return ago === 1 ? capital(relative.format(-1, "day")) : formats.weekday.format(at);
  return formats.short.format(at);
}
