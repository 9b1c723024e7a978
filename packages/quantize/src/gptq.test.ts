import { readFileSync } from "node:fs";
import { contiguousData, type Diagnostic, type Matrix, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dequantize } from "./dequantize.js";
import { gptq } from "./gptq.js";
import { inverseCholesky } from "./inverse-cholesky.js";
import { rtn } from "./rtn.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

// Loss of GPTQModel 7.7.0 on one made linear map; see golden/gptq-loss.py.
const golden = JSON.parse(readFileSync(new URL("../test/golden/gptq-loss.json", import.meta.url), "utf8"));

function* generator(seed: number): Generator<number, number, undefined> {
  for (let state = seed; ; ) {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    yield state / 2 ** 32 - 0.5;
  }
}

/** The weight and inputs of golden/gptq-loss.py. */
async function madeMap(): Promise<{
  weight: Matrix<Float32Array>;
  gram: Matrix<Float64Array>;
  tokens: number;
}> {
  const { rows, columns, tokens, sources } = golden;
  const numbers = generator(1);
  const draw = (count: number) => Float64Array.from({ length: count }, () => numbers.next().value);
  const weight = tensor(Float32Array.from(draw(rows * columns)), [rows, columns]);
  const mixing = tensor(draw(sources * columns), [sources, columns]);
  const states = tensor(draw(tokens * sources), [tokens, sources]);
  const mixed = await ctx.engine.matmul<Matrix<Float64Array>>(states, mixing);
  const noise = draw(tokens * columns);
  const inputs = Float64Array.from(contiguousData(mixed), (value, i) =>
    Math.fround((value + 0.1 * noise[i]) * ((i % columns) % 17 === 0 ? 8 : 1)),
  );
  const x = tensor(inputs, [tokens, columns]) as Matrix<Float64Array>;
  return { weight, gram: await ctx.engine.matmul(x, x, { transposeA: true }), tokens };
}

async function outputLoss(
  weight: Matrix,
  changed: Matrix,
  gram: Matrix<Float64Array>,
  tokens: number,
): Promise<number> {
  const delta = Float64Array.from(contiguousData(weight), (value, i) => value - contiguousData(changed)[i]);
  const product = await ctx.engine.matmul<Matrix<Float64Array>>(tensor(delta, weight.shape), gram);
  return contiguousData(product).reduce((sum, value, i) => sum + value * delta[i], 0) / tokens;
}

const made = await madeMap();

describe("gptq", () => {
  for (const { loss, ...options } of golden.cases) {
    it(`leaves the reference's loss: ${JSON.stringify(options)}`, async () => {
      const { weight, gram, tokens } = made;
      const grid = { ...options, scaleDtype: "float32" as const };
      const result = await gptq(grid).quantize(weight, { tokenCount: tokens, gram }, ctx);
      const ours = await outputLoss(weight, dequantize(result), gram, tokens);
      expect(Math.abs(ours / loss - 1)).toBeLessThan(0.01);
      const { activationOrder, staticGroups, ...same } = grid;
      const control = await rtn(same).quantize(weight, { tokenCount: 0 }, ctx);
      expect(ours).toBeLessThan(0.5 * (await outputLoss(weight, dequantize(control), gram, tokens)));
    });
  }

  it("is rounding to nearest where the input channels are uncorrelated", async () => {
    const columns = 192;
    const rng = seededRng(3);
    const weight = tensor(
      Float32Array.from({ length: 5 * columns }, () => ctx.rng.normal()),
      [5, columns],
    );
    const gram = new Float64Array(columns * columns);
    for (let i = 0; i < columns; i++) gram[i * columns + i] = 1 + rng.uniform();
    const statistics = { tokenCount: 1, gram: tensor(gram, [columns, columns]) as Matrix<Float64Array> };
    for (const groupSize of [-1, 32, 48, 192]) {
      const options = { groupSize, bits: 3, scaleDtype: "float32" } as const;
      const ours = await gptq(options).quantize(weight, statistics, ctx);
      const control = await rtn(options).quantize(weight, statistics, ctx);
      expect(ours.codes).toEqual(control.codes);
      expect(ours.scales).toEqual(control.scales);
    }
  });

  it("says which channel belongs to which group when groups follow the order of activations", async () => {
    const { weight, gram, tokens } = made;
    const statistics = { tokenCount: tokens, gram };
    const ordered = await gptq({ activationOrder: true }).quantize(weight, statistics, ctx);
    const index = ordered.groupIndex ?? new Int32Array();
    const energy = Array.from({ length: 256 }, (_, i) => gram.data[i * 257]);
    const strongest = energy.indexOf(Math.max(...energy));
    expect(index[strongest]).toBe(0);
    expect([0, 1].map((group) => index.filter((g) => g === group).length)).toEqual([128, 128]);
    const fixed = await gptq({ activationOrder: true, staticGroups: true }).quantize(weight, statistics, ctx);
    expect(fixed.groupIndex).toBeUndefined();
  });

  it("zeroes the weights of channels that no token uses, and says so", async () => {
    const { weight, tokens } = made;
    const gram = Float64Array.from(made.gram.data, (value, i) =>
      i % 256 === 5 || Math.floor(i / 256) === 5 ? 0 : value,
    );
    const told: string[] = [];
    const report = (event: { type: string }) => told.push((event as Diagnostic).code);
    const statistics = { tokenCount: tokens, gram: tensor(gram, [256, 256]) as Matrix<Float64Array> };
    const result = await gptq().quantize(weight, statistics, { ...ctx, report });
    expect(told).toEqual(["GPTQ_DEAD_COLUMNS"]);
    const approximation = dequantize(result).data;
    for (let row = 0; row < 48; row++) expect(approximation[row * 256 + 5]).toBe(0);
  });

  it("rounds to nearest where no token reached the linear map", async () => {
    const weight = tensor(
      Float32Array.from({ length: 4 * 64 }, (_, i) => Math.sin(i * i)),
      [4, 64],
    );
    const gram = tensor(new Float64Array(64 * 64), [64, 64]) as Matrix<Float64Array>;
    const { codes } = await gptq({ groupSize: 32 }).quantize(weight, { tokenCount: 8, gram }, ctx);
    expect(codes).toEqual((await rtn({ groupSize: 32 }).quantize(weight, { tokenCount: 0 }, ctx)).codes);
  });

  it("refuses a group size that does not divide the input, listing those that do", async () => {
    const weight = tensor(new Float32Array(576), [1, 576]);
    const statistics = {
      tokenCount: 1,
      gram: tensor(new Float64Array(576 * 576), [576, 576]) as Matrix<Float64Array>,
    };
    await expect(async () => gptq({ groupSize: 128 }).quantize(weight, statistics, ctx)).rejects.toThrow(
      expect.objectContaining({
        code: "GROUP_SIZE_INVALID",
        wanted: "-1, 8, 9, 12, 16, 18, 24, 32, 36, 48, 64, 72, 96, 144, 192, 288, 576",
      }),
    );
  });

  it("refuses to run without a Gram matrix", async () => {
    await expect(async () => gptq().quantize(made.weight, { tokenCount: 0 }, ctx)).rejects.toThrow(
      expect.objectContaining({ code: "STATISTICS_MISSING" }),
    );
  });
});

describe("inverseCholesky", () => {
  it("gives an upper factor U with Uᵀ·U·H = I", async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 20 }), fc.integer(), async (n, seed) => {
        const rng = seededRng(seed);
        const a = tensor(
          Float64Array.from({ length: n * n }, () => rng.normal()),
          [n, n],
        ) as Matrix<Float64Array>;
        const square = await ctx.engine.matmul(a, a, { transposeB: true });
        const h = tensor(
          Float64Array.from(contiguousData(square), (value, i) => value + (i % (n + 1) === 0 ? n : 0)),
          [n, n],
        ) as Matrix<Float64Array>;
        const u = await inverseCholesky(h, ctx);
        for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) expect(u.data[i * n + j]).toBe(0);
        const inverse = await ctx.engine.matmul(u, u, { transposeA: true });
        const identity = contiguousData(await ctx.engine.matmul(inverse, h));
        identity.forEach((value, i) => {
          expect(value).toBeCloseTo(i % (n + 1) === 0 ? 1 : 0, 10);
        });
      }),
    );
  });
});
