import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fnv1a64, seededRng, splitMixState, xoshiro128StarStar } from "./seeded-rng.js";

describe("known vectors", () => {
  it("xoshiro128** 1.1 from state 1, 2, 3, 4, by the authors' C code", () => {
    const next = xoshiro128StarStar(Uint32Array.of(1, 2, 3, 4));
    const wanted = [
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804,
    ];
    expect(wanted.map(() => next())).toEqual(wanted);
  });

  it("SplitMix64 from 1477776061723855037, as rand_xoshiro 0.6 tests it", () => {
    const state = splitMixState(1477776061723855037n);
    const words = [0, 2].map((i) => BigInt(state[i]) | (BigInt(state[i + 1]) << 32n));
    expect(words).toEqual([1985237415132408290n, 2979275885539914483n]);
  });

  it("FNV-1a of the texts in draft-eastlake-fnv", () => {
    expect(fnv1a64("")).toBe(0xcbf29ce484222325n);
    expect(fnv1a64("a")).toBe(0xaf63dc4c8601ec8cn);
    expect(fnv1a64("foobar")).toBe(0x85944171f73967e8n);
  });
});

describe("seededRng", () => {
  const take = (seed: number | string, count = 5) => {
    const rng = seededRng(seed);
    return Array.from({ length: count }, () => rng.uniform());
  };

  it("repeats itself, and differs between seeds", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.maxSafeInteger(), (a, b) => {
        expect(take(a)).toEqual(take(a));
        if (a !== b) expect(take(a)).not.toEqual(take(b));
      }),
    );
    expect(take("7")).not.toEqual(take(7));
  });

  it("forks by seed and label only", () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(20), (label, draws) => {
        const rng = seededRng(11);
        const before = rng.fork(label).uniform();
        for (let i = 0; i < draws; i++) rng.normal();
        expect(rng.fork(label).uniform()).toBe(before);
        expect(rng.fork(`${label}x`).uniform()).not.toBe(before);
      }),
    );
  });

  it("has the moments of its distributions within five standard errors", () => {
    const count = 40_000;
    const rng = seededRng("moments");
    let [uniform, square, normal, normalSquare] = [0, 0, 0, 0];
    for (let i = 0; i < count; i++) {
      const u = rng.uniform();
      const z = rng.normal();
      uniform += u / count;
      square += (u * u) / count;
      normal += z / count;
      normalSquare += (z * z) / count;
    }
    const within = (value: number, mean: number, variance: number) =>
      expect(Math.abs(value - mean)).toBeLessThan(5 * Math.sqrt(variance / count));
    within(uniform, 1 / 2, 1 / 12);
    within(square, 1 / 3, 4 / 45);
    within(normal, 0, 1);
    within(normalSquare, 1, 2);
  });

  it("gives permutations, every order of three equally often", () => {
    const rng = seededRng(5);
    expect([...rng.permutation(100)].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    const counts = new Map<string, number>();
    const draws = 6000;
    for (let i = 0; i < draws; i++) {
      const order = rng.permutation(3).join();
      counts.set(order, (counts.get(order) ?? 0) + 1);
    }
    expect(counts.size).toBe(6);
    // Chi-squared with 5 degrees of freedom: its 99.9 % quantile.
    const expected = draws / 6;
    expect([...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)).toBeLessThan(
      20.52,
    );
  });

  it("stays below the bound", () => {
    const rng = seededRng(2);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 32 }), (bound) => {
        const value = rng.integer(bound);
        expect(Number.isInteger(value) && value >= 0 && value < bound).toBe(true);
      }),
    );
  });

  it("refuses a seed that is not a safe integer", () => {
    expect(() => seededRng(0.5)).toThrow(expect.objectContaining({ code: "SEED_INVALID" }));
  });
});
