// @ts-check
/** What tabs are told of what the rules decided. @module */

import { messageOf, pendingMessage } from "./views.js";

/** @import {Account, Log, Notice} from "./types.js" */
/** @import {Events} from "./tabs.js" */
/** @typedef {ReadonlyMap<number, Log> | undefined} Logs */

/** The events of a notice.
 * @param {Notice} notice @param {Account} account @param {Logs} logs @returns {Events} */
export function eventsOf(notice, account, logs) {
  const me = account.user;
  switch (notice.type) {
    case "deliver": {
      const { row } = notice;
      return [["message", { message: messageOf(row, logs?.get(row.conv), me) }]];
    }
    case "acked": {
      const row = { ...notice, from: me, device: account.device };
      return [["sent", { message: messageOf(row, logs?.get(row.conv), me) }]];
    }
    case "refused": {
      const message = pendingMessage(notice.entry, undefined, me);
      return [["failed", { message, code: notice.code }]];
    }
    case "receipt": {
      const { type: _type, ...receipt } = notice;
      return [["receipt", receipt]];
    }
    case "withdrawn":
      return [["withdrawn", { conv: notice.conv, above: notice.above }]];
    case "hinted": {
      const { name, data } = notice;
      const friends = name.startsWith("friend.") ? [["friends", {}]] : [];
      return /** @type {Events} */ ([["event", { name, data }], ...friends]);
    }
    default:
      return [];
  }
}
