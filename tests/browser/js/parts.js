/** The other parts that need no server.  Each function here is a test. */

import { packed } from "/client/connection.js";
import { decode } from "/client/incoming.js";
import { Sha256, sha256Of } from "/client/sha256.js";
import { newId } from "/client/system.js";
import { equal } from "./scripted.js";

export async function ids_are_uuids_of_version_7_that_sort_by_time() {
  const before = Date.now();
  const first = newId();
  const after = Date.now();
  await new Promise((resolve) => setTimeout(resolve, 5));
  const second = newId();
  const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  equal([shape.test(first), shape.test(second), first < second], [true, true, true]);
  const made = parseInt(first.replace("-", "").slice(0, 12), 16);
  equal([before <= made, made <= after], [true, true]);
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

/** Of FIPS 180-4 and NIST's CAVP; a million letters, and the lengths around a block's end. */
export async function sha256_gives_the_known_digests() {
  const known = {
    "": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    abc: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq:
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ["a".repeat(1_000_000)]: "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
  };
  for (const [text, digest] of Object.entries(known))
    equal(await sha256Of(new Blob([text])), digest, text.slice(0, 20));
}

export async function sha256_is_the_same_in_whatever_pieces() {
  const hex = (buffer) =>
    Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
  for (let size = 0; size < 200; size++) {
    const bytes = Uint8Array.from({ length: size }, (_, i) => i * 7 + size);
    const wanted = hex(await crypto.subtle.digest("SHA-256", bytes));
    for (const step of [1, 7, 63, 64, 65, 200]) {
      const sum = new Sha256();
      for (let at = 0; at < size; at += step) sum.update(bytes.subarray(at, at + step));
      equal(sum.digest(), wanted, `${size} in pieces of ${step}`);
    }
  }
  const large = crypto.getRandomValues(new Uint8Array(65_536));
  const blob = new Blob(Array(40).fill(large));
  const wanted = hex(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  equal(await sha256Of(blob), wanted, "several slices");
}
