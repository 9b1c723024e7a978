import {
  contiguousData,
  type MatmulEngine,
  type Matrix,
  type Rng,
  type RunContext,
  tensor,
} from "@layerfold/core";

/**
 * A context for tests: seeded random numbers, and products in plain loops with float64 sums. For small data only.
 * `overrides` replaces any part, e.g. `{ signal }` or `{ report }`.
 */
export function testContext(seed: number, overrides: Partial<RunContext> = {}): RunContext {
  return { rng: testRng(seed), engine: plainEngine, ...overrides };
}

/** SplitMix32 with a stream per fork label. */
function testRng(seed: number): Rng {
  let state = seed | 0;
  const next = () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  const uniform = () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
  const integer = (bound: number) => Math.floor(uniform() * bound);
  return {
    uniform,
    integer,
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    permutation(count) {
      const order = Int32Array.from({ length: count }, (_, i) => i);
      for (let i = count - 1; i > 0; i--) {
        const j = integer(i + 1);
        [order[i], order[j]] = [order[j], order[i]];
      }
      return order;
    },
    fork(label) {
      let hash = seed | 0;
      for (const character of `/${label}`) hash = Math.imul(hash ^ character.codePointAt(0)!, 0x01000193);
      return testRng(hash);
    },
  };
}

const plainEngine: MatmulEngine = {
  id: "plain",
  async matmul<M extends Matrix>(a: M, b: M, { transposeA = false, transposeB = false } = {}) {
    const left = transposeA ? transposed(a) : a;
    const right = transposeB ? transposed(b) : b;
    const [rows, inner] = left.shape;
    const columns = right.shape[1];
    if (inner !== right.shape[0] || a.data.constructor !== b.data.constructor) {
      throw new Error(`cannot multiply [${left.shape}] by [${right.shape}], or their dtypes differ`);
    }
    const x = contiguousData<Float32Array | Float64Array>(left);
    const y = contiguousData<Float32Array | Float64Array>(right);
    const out = new Float64Array(rows * columns);
    for (let i = 0; i < rows; i++) {
      for (let k = 0; k < inner; k++) {
        for (let j = 0; j < columns; j++) out[i * columns + j] += x[i * inner + k] * y[k * columns + j];
      }
    }
    return tensor(a.data instanceof Float64Array ? out : Float32Array.from(out), [
      rows,
      columns,
    ]) as unknown as M;
  },
};

const transposed = (m: Matrix): Matrix =>
  tensor(m.data, [m.shape[1], m.shape[0]], [m.stride[1], m.stride[0]], m.offset);
