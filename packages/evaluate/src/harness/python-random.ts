/** Python's `random.Random`, as far as the harness draws examples with it. */
export interface PythonRandom {
  /** `random.sample(range(population), count)`. */
  sample(population: number, count: number): number[];
  /** `random.random()`: 0 … 1, of 53 bits. */
  random(): number;
}

const size = 624;

/**
 * The Mersenne Twister (Matsumoto and Nishimura 1998) as Python seeds it with an integer, and Python's way to draw without putting back.
 * @param seed - 0 … 2³² − 1
 */
export function pythonRandom(seed: number): PythonRandom {
  const state = seeded(seed >>> 0);
  let index = size;

  function next32(): number {
    if (index >= size) {
      for (let i = 0; i < size; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % size] & 0x7fffffff);
        state[i] = state[(i + 397) % size] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      index = 0;
    }
    let y = state[index++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    y ^= y >>> 18;
    return y >>> 0;
  }

  /** A whole number below a limit, by rejection. */
  function below(limit: number): number {
    const bits = 32 - Math.clz32(limit);
    let drawn = next32() >>> (32 - bits);
    while (drawn >= limit) drawn = next32() >>> (32 - bits);
    return drawn;
  }

  return {
    random: () => ((next32() >>> 5) * 2 ** 26 + (next32() >>> 6)) / 2 ** 53,
    sample(population, count) {
      const drawn: number[] = [];
      // A set of those taken, where it is smaller than a list of all.
      let setSize = 21;
      if (count > 5) setSize += 4 ** Math.ceil(Math.log(count * 3) / Math.log(4));
      if (population <= setSize) {
        const pool = Array.from({ length: population }, (_, i) => i);
        for (let i = 0; i < count; i++) {
          const at = below(population - i);
          drawn.push(pool[at]);
          pool[at] = pool[population - i - 1];
        }
        return drawn;
      }
      const taken = new Set<number>();
      for (let i = 0; i < count; i++) {
        let at = below(population);
        while (taken.has(at)) at = below(population);
        taken.add(at);
        drawn.push(at);
      }
      return drawn;
    },
  };
}

/** `init_by_array` of one number. */
function seeded(seed: number): Int32Array {
  const state = new Int32Array(size);
  state[0] = 19650218;
  for (let i = 1; i < size; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  let i = 1;
  for (let k = 0; k < size; k++) {
    state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1664525)) + seed;
    if (++i >= size) {
      state[0] = state[size - 1];
      i = 1;
    }
  }
  for (let k = 0; k < size - 1; k++) {
    state[i] = (state[i] ^ Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1566083941)) - i;
    if (++i >= size) {
      state[0] = state[size - 1];
      i = 1;
    }
  }
  state[0] = 0x80000000 | 0;
  return state;
}
