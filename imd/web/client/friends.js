// @ts-check
/** The friend list and the devices: methods of protocol §7 by name. @module */

/** @typedef {{call(method: string, params?: Record<string, any>): Promise<any>}} Caller */
/**
 * @typedef {{user: number, name: string, state?: string, conv?: number, display?: string,
 *   note?: string}} Friend
 */

/** The friend list; each method takes a user id or a name. */
export class Friends {
  /** @param {Caller} client @param {() => Promise<Friend[]>} list */
  constructor(client, list) {
    this.#client = client;
    this.#list = list;
  }

  #client;
  #list;

  /** All entries: `{user, name, state, conv?, display?, note?}`; while offline, as they were. */
  list() {
    return this.#list();
  }

  /** A user by exact name. @param {number | string} user */
  find(user) {
    return this.#client.call("user.find", { user });
  }

  /** Ask for friendship; accepts, if the other one has asked already.
   * @param {number | string} user @param {string} [note] */
  add(user, note) {
    return this.#client.call("friend.add", note ? { user, note } : { user });
  }

  /** Accept; this makes the conversation. @param {number | string} user */
  accept(user) {
    return this.#client.call("friend.accept", { user });
  }

  /** Decline a request. @param {number | string} user */
  decline(user) {
    return this.#client.call("friend.decline", { user });
  }

  /** End a friendship; the history stays readable. @param {number | string} user */
  remove(user) {
    return this.#client.call("friend.remove", { user });
  }

  /** Take no requests and no messages from this user. @param {number | string} user */
  block(user) {
    return this.#client.call("friend.block", { user });
  }

  /** Take them again. @param {number | string} user */
  unblock(user) {
    return this.#client.call("friend.unblock", { user });
  }
}

/** The devices of the account. */
export class Devices {
  /** @param {Caller} client */
  constructor(client) {
    this.#client = client;
  }

  #client;

  /** All of them: `{device, label, created, seen, current?}`. */
  async list() {
    return (await this.#client.call("device.list")).items;
  }

  /** Log one out. @param {number} device */
  revoke(device) {
    return this.#client.call("device.revoke", { device });
  }
}
