// @ts-check
/** What can go wrong, for whoever uses the client. @module */

/**
 * A refusal.  `code` is one of protocol §9, the number of a close code as a string, or
 * - `offline`: there is no connection, or it ended before the answer came;
 * - `storage`: the browser's database cannot be used, or is full;
 * - `version`: this page is older than the data of another tab: reload it;
 * - `expired`: a message that could not be sent for a week;
 * - `full`: the server has no room for files now;
 * - `unreadable`: the browser cannot read a file any more.
 */
export class ImdError extends Error {
  /** `most`: of a limit that was exceeded. @param {string} code @param {string} [message]
   * @param {number} [most] */
  constructor(code, message = "", most) {
    super(message || code);
    this.name = "ImdError";
    this.code = code;
    this.most = most;
  }
}

/** The code, among the tabs, of an operation of a tab that another has replaced. */
export const FENCED = "fenced";
