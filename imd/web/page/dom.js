// @ts-check
/** Elements, made by calls; text is always text, never markup. @module */

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element.  `on…` are listeners, `true` an empty attribute; what is null or false is left out.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Child | Child[])} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...shown(children));
  return element;
}

/** @param {(Child | Child[])[]} children @returns {(Node | string)[]} */
function shown(children) {
  return /** @type {any[]} */ (children.flat().filter((child) => child || child === ""));
}

/** Put other children into an element. @param {Element} element @param {...(Child | Child[])} children */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
}

const SVG = "http://www.w3.org/2000/svg";
/** Outlines on a grid of 24. */
const OUTLINES = {
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6L6 18",
  down: "M6 9l6 6 6-6",
  people: "M9 11a4 4 0 100-8 4 4 0 000 8zM2 21a7 7 0 0114 0M19 8v6M22 11h-6",
  person: "M12 12a4 4 0 100-8 4 4 0 000 8zM4.5 21a7.5 7.5 0 0115 0",
  settings:
    "M4 7h9M19 7h1M4 17h1M11 17h9M16 9.5a2.5 2.5 0 100-5 2.5 2.5 0 000 5zM8 19.5a2.5 2.5 0 100-5 2.5 2.5 0 000 5z",
  send: "M12 19V5M5.5 11.5L12 5l6.5 6.5",
  pending: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 7v5l3 2",
  uploading: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 16.5V8M8.5 11.5L12 8l3.5 3.5",
  sent: "M5 12.5l4.5 4.5L19 7",
  delivered: "M1.5 12.5L6 17l9.5-10M11.5 16l1 1L22 7",
  read: "M1.5 12.5L6 17l9.5-10M11.5 16l1 1L22 7",
  failed: "M12 21a9 9 0 100-18 9 9 0 000 18zM12 7.5v5.5M12 16.4v.1",
  search: "M11 18a7 7 0 100-14 7 7 0 000 14zM16.2 16.2L21 21",
  attach: "M20 11.5l-8.2 8.2a5 5 0 01-7.1-7.1l8.5-8.5a3.3 3.3 0 014.7 4.7l-8.5 8.5a1.7 1.7 0 01-2.4-2.4l7.8-7.8",
  file: "M6 3h8l5 5v13H6zM14 3v5h5",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 2-2 5 5M15.5 10a1 1 0 100-2 1 1 0 000 2z",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
};

/** A picture that says nothing to screen readers. @param {keyof typeof OUTLINES} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", OUTLINES[name]);
  svg.append(path);
  return svg;
}

/** A button with a picture. @param {keyof typeof OUTLINES} name @param {string} label
 * @param {() => void} press @param {Record<string, any>} [more] */
export function iconButton(name, label, press, more = {}) {
  const usual = { type: "button", class: "round", "aria-label": label, title: label };
  return h("button", { ...usual, onclick: press, ...more }, icon(name));
}

/** A disc with the first letter of a name, in a colour that stays with the user.
 * @param {number} id @param {string} name */
export function avatar(id, name) {
  const [first = ""] = name.trim();
  return h("span", { class: `avatar tint-${id % 8}`, "aria-hidden": "true" }, first.toUpperCase());
}

/** How a user is called. @param {{name: string, display?: string}} user */
export function called(user) {
  return user.display || user.name;
}

/** Text for screen readers only. @param {string} text */
export function spoken(text) {
  return h("span", { class: "spoken" }, text);
}
