import { LayerfoldError, type Rng } from "@layerfold/core";

const mask = (1n << 64n) - 1n;

/** FNV-1a, 64 bits, of the text's UTF-8 bytes. */
export function fnv1a64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  return hash;
}

/** State for xoshiro128**: two outputs of SplitMix64, little end first. */
export function splitMixState(seed: bigint): Uint32Array {
  const state = new Uint32Array(4);
  let x = seed;
  for (let i = 0; i < 2; i++) {
    x = (x + 0x9e3779b97f4a7c15n) & mask;
    let z = x;
    z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
    z ^= z >> 31n;
    state[2 * i] = Number(z & 0xffffffffn);
    state[2 * i + 1] = Number(z >> 32n);
  }
  return state;
}

const rotateLeft = (x: number, k: number) => (x << k) | (x >>> (32 - k));

/** xoshiro128** 1.1 (Blackman & Vigna 2018, arXiv 1805.01407): each call steps `state` in place and returns 32 bits. */
export function xoshiro128StarStar(state: Uint32Array): () => number {
  let [s0, s1, s2, s3] = state;
  return () => {
    const result = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    const t = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotateLeft(s3, 11);
    return result;
  };
}

/**
 * A seeded stream of random numbers, the same on every machine.
 *
 * xoshiro128** (Blackman & Vigna, arXiv 1805.01407) whose state is filled by SplitMix64 from the 64-bit seed, as the Rust crate
 * `rand_xoshiro` does in `seed_from_u64`. A string seeds by its FNV-1a hash. `fork(label)` seeds a new stream with the FNV-1a
 * hash of this stream's seed and the label, so it does not depend on what was drawn. `normal` is Box–Muller; `integer` scales a
 * 53-bit uniform, a bias below bound · 2⁻⁵³; `permutation` is Fisher–Yates.
 *
 * @param seed - a safe integer or any text
 * @throws SEED_INVALID for a number that is not a safe integer
 *
 * @example
 * ```ts
 * const rng = seededRng(7);
 * const again = seededRng(7);
 * again.uniform();
 * assert(rng.fork("layer").uniform() === again.fork("layer").uniform());
 * ```
 */
export function seededRng(seed: number | string): Rng {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new LayerfoldError("SEED_INVALID", "a numeric seed must be a safe integer", { got: String(seed) });
  }
  return streamOf(typeof seed === "number" ? BigInt(seed) & mask : fnv1a64(seed));
}

function streamOf(seed: bigint): Rng {
  const next = xoshiro128StarStar(splitMixState(seed));
  const uniform = () => {
    const high = next() >>> 5;
    return (high * 0x4000000 + (next() >>> 6)) / 0x20000000000000;
  };
  const integer = (bound: number) => Math.floor(uniform() * bound);
  let spare: number | undefined;
  return {
    uniform,
    integer,
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
    permutation(count) {
      const order = Int32Array.from({ length: count }, (_, i) => i);
      for (let i = count - 1; i > 0; i--) {
        const j = integer(i + 1);
        const swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
      }
      return order;
    },
    fork: (label) => streamOf(fnv1a64(`${seed.toString(16)}/${label}`)),
  };
}
