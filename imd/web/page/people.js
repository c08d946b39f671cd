// @ts-check
/** Friends: ask, accept, decline, remove, block. @module */

import { dialog, field, form, sure } from "./dialog.js";
import { avatar, called, fill, h } from "./dom.js";
import { explain, t } from "./language.js";

/** @import {Client} from "../imd.js" */
/** @typedef {import("../client/friends.js").Friend} Friend */

/** What may be done with somebody, by the state of the friendship. */
const ACTIONS = {
  pending: ["accept", "decline", "block"],
  accepted: ["write", "remove", "block"],
  requested: ["withdraw", "block"],
  blocked: ["unblock"],
};
/** Those who ask come first. */
const STATES = /** @type {(keyof typeof ACTIONS)[]} */ (Object.keys(ACTIONS));

/** The dialog. @param {Client} client @param {(conv: number) => void} open */
export function people(client, open) {
  const asking = h("div", { class: "groups asking" });
  const lists = h("div", { class: "groups" });
  const none = h("p", { class: "hint", hidden: true }, t("people.none"));
  const said = h("p", { class: "said error", role: "alert" });
  const box = dialog(t("people.title"), said, asking, adding(client), lists, none);
  /** @param {Friend[]} all */
  const draw = (all) => {
    const asks = (/** @type {Friend} */ { state }) => state === "pending";
    show(asking, all.filter(asks), act);
    show(lists, all.filter((friend) => !asks(friend)), act);
    none.hidden = all.length > 0;
  };
  const wrong = (/** @type {any} */ error) => (said.textContent = explain(error));
  const redraw = latest(() => client.friends.list(), draw);
  const changed = () => void redraw().catch(wrong);
  /** @param {string} action @param {Friend} friend */
  const act = async (action, friend) => {
    said.textContent = "";
    try {
      if (action === "write" && friend.conv) {
        open(friend.conv);
        box.close();
      } else await carryOut(client, action, friend);
    } catch (error) {
      wrong(error);
    }
    changed();
  };
  client.addEventListener("friends", changed);
  box.addEventListener("close", () => client.removeEventListener("friends", changed));
  changed();
  return box;
}

/** Asks, and draws what is answered, unless a later answer was drawn already.
 * @template T @param {() => Promise<T>} ask @param {(answer: T) => void} draw */
function latest(ask, draw) {
  let asked = 0;
  let drawn = 0;
  return async () => {
    const mine = ++asked;
    const answer = await ask();
    if (mine < drawn) return;
    drawn = mine;
    draw(answer);
  };
}

/** @type {WeakMap<Element, string>} */
const SHOWN = new WeakMap();

/** Show friends.  As long as they are the same, whoever presses a button there finds it.
 * @param {HTMLElement} element @param {Friend[]} friends
 * @param {(action: string, friend: Friend) => Promise<void>} act */
function show(element, friends, act) {
  const now = JSON.stringify(friends);
  if (SHOWN.get(element) === now) return;
  SHOWN.set(element, now);
  fill(element, ...groups(friends, act));
}

/** @param {Client} client */
function adding(client) {
  const name = field(t("people.addName"), { name: "user", required: true, maxlength: 32 });
  const note = field(t("people.note"), { name: "note", maxlength: 200, dir: "auto" });
  const act = async () => {
    const wanted = name.input.value.trim();
    const entry = await client.friends.add(wanted, note.input.value.trim());
    name.input.value = note.input.value = "";
    return t(entry?.state === "accepted" ? "people.now" : "people.asked", { name: wanted });
  };
  const element = form(
    [h("h3", {}, t("people.add")), name.element, note.element],
    t("people.ask"),
    act,
  );
  element.classList.add("adding");
  return element;
}

/** @param {Friend[]} friends @param {(action: string, friend: Friend) => Promise<void>} act */
function groups(friends, act) {
  const shown = STATES.map((state) => ({
    state,
    members: friends.filter((friend) => friend.state === state),
  })).filter(({ members }) => members.length);
  return shown.map(({ state, members }) =>
    h(
      "section",
      {},
      h("h3", {}, t(`people.${state}`)),
      h("ul", {}, members.map((friend) => person(friend, ACTIONS[state], act))),
    ),
  );
}

/** @param {Friend} friend @param {string[]} actions
 * @param {(action: string, friend: Friend) => Promise<void>} act */
function person(friend, actions, act) {
  const name = called(friend);
  const login = !!friend.display && h("span", { class: "login" }, friend.name);
  const buttons = actions.map((action, i) => {
    const label = t(/** @type {any} */ (`people.${action}`));
    const kind = i === 0 && actions.length > 1 ? "soft" : "plain";
    const press = () => void act(action, friend);
    const attributes = { type: "button", class: kind, "aria-label": `${label}: ${name}` };
    return h("button", { ...attributes, onclick: press }, label);
  });
  return h(
    "li",
    { class: "person" },
    avatar(friend.user, name),
    h("div", { class: "name", dir: "auto" }, name, login),
    !!friend.note && h("p", { class: "note", dir: "auto" }, friend.note),
    h("div", { class: "buttons" }, buttons),
  );
}

/** @param {Client} client @param {string} action @param {Friend} friend */
async function carryOut(client, action, friend) {
  const name = called(friend);
  const { friends } = client;
  switch (action) {
    case "remove": {
      const agreed = await sure(t("people.removeAsk", { name }), t("people.removeHint"), t("people.remove"));
      return agreed && friends.remove(friend.user);
    }
    case "block": {
      const agreed = await sure(t("people.blockAsk", { name }), t("people.blockHint"), t("people.block"));
      return agreed && friends.block(friend.user);
    }
    case "withdraw":
      return friends.remove(friend.user);
    default:
      return friends[/** @type {"accept" | "decline" | "unblock"} */ (action)](friend.user);
  }
}
