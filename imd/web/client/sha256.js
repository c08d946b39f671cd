// @ts-check
/**
 * SHA-256 (FIPS 180-4) of what comes piece by piece.  The browser's own digest wants all of a
 * file in memory, and is missing on plain http.
 * @module
 */

/** Bytes that are read and hashed before anything else gets its turn: a few ms of work. */
const SLICE = 1 << 19;

/** The first 32 bits of the fractions of these roots of the first primes.
 * @param {(prime: number) => number} root @param {number} count */
function fractions(root, count) {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < count; n++) if (primes.every((p) => n % p)) primes.push(n);
  return Int32Array.from(primes, (prime) => ((root(prime) % 1) * 2 ** 32) | 0);
}

const START = fractions(Math.sqrt, 8);
const ROUNDS = fractions(Math.cbrt, 64);

/** @param {number} x @param {number} n */
const turned = (x, n) => (x >>> n) | (x << (32 - n));

/** A digest that grows. */
export class Sha256 {
  #state = START.slice();
  #words = new Int32Array(64);
  /** What does not fill a block yet. */
  #rest = new Uint8Array(64);
  #length = 0;

  /** @param {Uint8Array<ArrayBuffer>} bytes */
  update(bytes) {
    const waiting = this.#length % 64;
    this.#length += bytes.length;
    if (waiting + bytes.length < 64) {
      this.#rest.set(bytes, waiting);
      return;
    }
    let at = 0;
    if (waiting) {
      at = 64 - waiting;
      this.#rest.set(bytes.subarray(0, at), waiting);
      this.#block(new DataView(this.#rest.buffer), 0);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (; at + 64 <= bytes.length; at += 64) this.#block(view, at);
    this.#rest.set(bytes.subarray(at));
  }

  /** Of all that came, as 64 hexadecimal digits.  Nothing may come after it. */
  digest() {
    const bits = this.#length * 8;
    const end = new Uint8Array(((119 - (this.#length % 64)) % 64) + 9);
    end[0] = 0x80;
    const view = new DataView(end.buffer);
    view.setUint32(end.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(end.length - 4, bits % 2 ** 32);
    this.update(end);
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  /** @param {DataView} view @param {number} at */
  #block(view, at) {
    const words = this.#words;
    for (let i = 0; i < 16; i++) words[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = words[i - 15];
      const b = words[i - 2];
      const low = turned(a, 7) ^ turned(a, 18) ^ (a >>> 3);
      const high = turned(b, 17) ^ turned(b, 19) ^ (b >>> 10);
      words[i] = (((words[i - 16] + low) | 0) + ((words[i - 7] + high) | 0)) | 0;
    }
    this.#mix();
  }

  #mix() {
    const words = this.#words;
    const state = this.#state;
    // One by one: this is where the time goes, and engines are quick with nothing else.
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let i = 0; i < 64; i++) {
      const high = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const choice = (e & f) ^ (~e & g);
      const first = (((((h + high) | 0) + choice) | 0) + ((ROUNDS[i] + words[i]) | 0)) | 0;
      const low = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      const second = (low + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + first) | 0;
      d = c;
      c = b;
      b = a;
      a = (first + second) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}

/** The digest of a file, which is never in memory as a whole; the page stays alive meanwhile.
 * @param {Blob} blob @param {AbortSignal} [signal] @returns {Promise<string>} */
export async function sha256Of(blob, signal) {
  const sum = new Sha256();
  for (let at = 0; at < blob.size; at += SLICE) {
    sum.update(new Uint8Array(await blob.slice(at, at + SLICE).arrayBuffer()));
    signal?.throwIfAborted();
  }
  return sum.digest();
}
