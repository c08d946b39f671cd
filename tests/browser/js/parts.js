/** The other parts that need no server.  Each function here is a test. */

import { packed } from "/client/connection.js";
import { decode } from "/client/incoming.js";
import { newId } from "/client/system.js";
import { equal } from "./scripted.js";

export async function ids_are_uuids_of_version_7_that_sort_by_time() {
  const first = newId();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = newId();
  const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  equal([shape.test(first), shape.test(second), first < second], [true, true, true]);
  equal(Math.abs(parseInt(first.replace("-", "").slice(0, 12), 16) - Date.now()) < 1000, true);
}

export async function unknown_and_impossible_frames_are_skipped() {
  const pong = { type: "pong", n: 1, now: 2, more: "fields" };
  const wrong = [
    { type: "pong" },
    { type: "constructor" },
    { type: "future" },
    { type: "msg", conv: -1 },
    { type: "ack", id: "x", conv: 1, seq: 1.5, at: 1 },
    { type: "head", conv: 2 ** 53, last: 1 },
    7,
    null,
    [],
  ];
  equal(decode(JSON.stringify([...wrong, pong])), [pong]);
  equal(decode(JSON.stringify(pong)), [pong]);
}

export async function what_is_not_json_is_an_error() {
  for (const data of ["", "{", new Blob(["{}"])]) {
    let caught = null;
    try {
      decode(data);
    } catch (error) {
      caught = error;
    }
    equal(caught instanceof SyntaxError, true);
  }
}

export async function frames_are_packed_by_number_and_by_bytes() {
  const frames = Array.from({ length: 5 }, (_, n) => ({ type: "ping", n }));
  equal(packed(frames, 2, 1000).map((text) => JSON.parse(text).length ?? 1), [2, 2, 1]);
  const wide = { type: "x", text: "ü".repeat(40) };
  const sizes = packed([wide, wide, wide], 64, 250);
  equal(sizes.map((text) => JSON.parse(text).length ?? 1), [2, 1]);
  equal(sizes.every((text) => new TextEncoder().encode(text).length <= 250), true);
}
