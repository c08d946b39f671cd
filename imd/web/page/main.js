// @ts-check
/** Starts the page. @module */

import { Client } from "../imd.js";
import { App } from "./app.js";
import { fill, h } from "./dom.js";
import { chooseLanguage, explain, t } from "./language.js";

/** What to call this browser in the list of devices. */
function deviceName() {
  const agent = navigator.userAgent;
  const known = (/** @type {string[]} */ names) => names.find((name) => agent.includes(name));
  const browser = known(["Edg", "OPR", "Firefox", "Chrome", "Safari"]);
  const system = known(["Android", "iPhone", "iPad", "Windows", "Mac", "Linux"]);
  const name = browser?.replace("Edg", "Edge").replace("OPR", "Opera") ?? t("entry.browser");
  return system ? t("entry.device", { browser: name, system }) : name;
}

async function main() {
  chooseLanguage();
  const root = /** @type {HTMLElement} */ (document.getElementById("app"));
  const client = new Client({ device: deviceName() });
  const app = new App(client, root);
  try {
    await client.start();
  } catch (error) {
    fill(root, h("main", { class: "entry" }, h("p", { role: "alert" }, explain(error))));
    return;
  }
  app.show();
}

void main();
