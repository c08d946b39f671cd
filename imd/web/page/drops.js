// @ts-check
/** Files that are dropped on a conversation, or pasted into it. @module */

import { h, icon } from "./dom.js";
import { t } from "./language.js";

/** @typedef {{name: string, open(): boolean, take(files: File[], folders: boolean): void}} Taker */

/** Take what is dropped on an element, or pasted while the focus is in it.
 * @param {HTMLElement} element @param {Taker} taker */
export function takeDrops(element, { name, open, take }) {
  const hint = h("div", { class: "drop", hidden: true }, icon("attach"), t("file.drop", { name }));
  element.append(hint);
  let depth = 0;
  const show = (/** @type {number} */ step) => {
    depth = step ? Math.max(0, depth + step) : 0;
    hint.hidden = !depth;
  };
  const on = (/** @type {string} */ type, /** @type {(event: DragEvent) => void} */ act) =>
    element.addEventListener(type, (/** @type {any} */ event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      // Otherwise the browser would leave the page to show the file.
      event.preventDefault();
      if (open()) act(event);
      else event.dataTransfer.dropEffect = "none";
    });
  on("dragenter", () => show(1));
  on("dragleave", () => show(-1));
  on("dragover", ({ dataTransfer }) => dataTransfer && (dataTransfer.dropEffect = "copy"));
  on("drop", ({ dataTransfer }) => {
    show(0);
    if (dataTransfer) take(...filesOf(dataTransfer));
  });
  element.addEventListener("paste", (event) => {
    const data = event.clipboardData;
    // Of a table or a page there is a picture as well; its words are what was meant.
    if (!data?.files.length || data.types.includes("text/plain") || !open()) return;
    event.preventDefault();
    take(...filesOf(data));
  });
}

/** @param {DataTransfer} data @returns {[files: File[], folders: boolean]} */
function filesOf(data) {
  const files = [];
  let folders = false;
  for (const item of data.items) {
    if (item.kind !== "file") continue;
    const isFolder = !!item.webkitGetAsEntry?.()?.isDirectory;
    const file = isFolder ? null : item.getAsFile();
    folders ||= isFolder;
    if (file) files.push(file);
  }
  return [files, folders];
}
