import {
  type Architecture,
  type BlockView,
  contiguousData,
  parsePlan,
  type RunContext,
  tensor,
} from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { planShares } from "../plan-shares.js";
import { breadcrumbs } from "./breadcrumbs.js";
import { dare } from "./dare.js";
import { foldNorms } from "./fold-norms.js";
import { differencesFromFirst, magnitudeBound } from "./magnitude-bounds.js";
import { slerp } from "./slerp.js";
import { tensorwise, weightedSum } from "./tensorwise.js";
import { ties } from "./ties.js";
import { checkWeights, fixedWeights, weighted } from "./weighted.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

const block = (values: number[], role = "mlp.down", type = "t"): BlockView => ({
  layer: 0,
  type,
  tensors: new Map([[role, tensor(Float32Array.from(values), [1, values.length])]]),
});
const down = (view: BlockView) => [...contiguousData(view.tensors.get("mlp.down")!)];
const close = (got: ArrayLike<number>, wanted: readonly number[]) => {
  expect(got).toHaveLength(wanted.length);
  wanted.forEach((value, i) => {
    expect(got[i]).toBeCloseTo(value, 6);
  });
};

describe("weights", () => {
  it("fixed: from the back, θ ← ratio·θ_l + (1 − ratio)·θ", async () => {
    close(fixedWeights(3, 0.7), [0.7, 0.21, 0.09]);
    close(fixedWeights(1, 0.7), [1]);
    const views = [block([1, 0, 0]), block([0, 1, 0]), block([0, 0, 1])];
    close(
      down(await weighted({ weighting: "fixed", ratio: 0.7 }).merge(views, [1, 0, 0], ctx)),
      [0.7, 0.21, 0.09],
    );
  });

  it("must sum to 1, within 1e-6 either way", () => {
    const sum = expect.objectContaining({ code: "WEIGHTS_SUM" });
    for (const near of [0, 5e-7, -5e-7]) expect(() => checkWeights([0.5, 0.5 + near])).not.toThrow();
    for (const far of [2e-6, -2e-6, 0.1]) expect(() => checkWeights([0.5, 0.5 + far])).toThrow(sum);
  });

  it("of 0 leave a layer unread", () => {
    const broken = Float32Array.of(Number.NaN);
    expect([...weightedSum([broken, Float32Array.of(2), Float32Array.of(6)], [0, 0.5, 0.25])]).toEqual([2.5]);
  });
});

describe("magnitudeBound", () => {
  it("is the magnitude below which the share lies", () => {
    const values = Float32Array.of(3, -1, 2, -4);
    const shares = [0, 0.25, 0.5, 0.75, 1];
    expect(shares.map((share) => magnitudeBound(values, share))).toEqual([
      0,
      2,
      3,
      4,
      Number.POSITIVE_INFINITY,
    ]);
    // Nearest count: 0.1 of four is none, 0.2 is one.
    expect([0.1, 0.2].map((share) => magnitudeBound(values, share))).toEqual([0, 2]);
  });

  it("looks at what later layers differ from the first by", () => {
    const layers = [Float32Array.of(1, 2), Float32Array.of(4, 4), Float32Array.of(0, 2)];
    expect(differencesFromFirst(layers)).toEqual([Float32Array.of(3, 2), Float32Array.of(-1, 0)]);
  });
});

describe("slerp", () => {
  const at = (degrees: number, size = 1) =>
    block([size * Math.cos((degrees * Math.PI) / 180), size * Math.sin((degrees * Math.PI) / 180)]);

  it("goes on along the circle with a third layer's share of all weights", async () => {
    // Half way from 0° to 60° is 30°, and a third of the way from there to 120° is 60°.
    const third = 1 / 3;
    close(down(await slerp().merge([at(0), at(60), at(120)], [third, third, third], ctx)), [
      0.5,
      Math.sqrt(0.75),
    ]);
    close(down(await slerp().merge([at(0), block([Number.NaN, 0]), at(90)], [0.5, 0, 0.5], ctx)), [
      Math.SQRT1_2,
      Math.SQRT1_2,
    ]);
  });

  it("has the angle of the directions, whatever the lengths", async () => {
    // Shoemake: sin(Ω/2)/sin Ω of each, 1/√2 at a right angle.
    close(down(await slerp().merge([at(0, 2), at(90, 4)], [0.5, 0.5], ctx)), [Math.SQRT2, 2 * Math.SQRT2]);
    close(down(await slerp().merge([at(0), at(180)], [0.75, 0.25], ctx)), [0.5, 0]);
  });
});

describe("masked differences", () => {
  it("breadcrumbs gives every later layer its own weight, and keeps the bounds' own side", async () => {
    const views = [block([1, 1, 1, 1]), block([2, 3, 4, 5]), block([5, 4, 3, 2])];
    // Differences 1 2 3 4 and 4 3 2 1, of which 2 and 3 stay.
    const merged = await breadcrumbs({ smallest: 0.25, largest: 0.25 }).merge(views, [0.5, 0.25, 0.125], ctx);
    close(down(merged), [1, 1 + 0.5 + 0.375, 1 + 0.75 + 0.25, 1]);
  });

  it("ties follows the sign of the sum, and scales the mean of those that have it", async () => {
    const views = [block([1, 1, 1]), block([-3, 2, 1]), block([2, 0, 1]), block([0, 1, 1])];
    // Differences −4 1 −1, sum −4: the mean of −4 and −1; 1 −1 0, sum 0: none has its sign; 0 0 0: none.
    close(down(await ties({ density: 1, scale: 0.5 }).merge(views, [], ctx)), [1 - 1.25, 1, 1]);
  });

  it("dare adds w / (1 − rate) of a difference or nothing, and draws anew for every layer", async () => {
    const size = 400;
    const views = [0, 8, 64].map((value) => block(new Array(size).fill(value)));
    const merged = down(await dare({ dropRate: 0.75 }).merge(views, [0.25, 0.5, 0.25], ctx));
    // 0.5 · 4 · 8 = 16 and 0.25 · 4 · 64 = 64, each there or not.
    expect(new Set(merged)).toEqual(new Set([0, 16, 64, 80]));
  });
});

describe("tensorwise", () => {
  const first = tensorwise(([a]) => a);

  it("refuses blocks of other types, roles or shapes", async () => {
    const one = block([1, 2]);
    for (const other of [block([1, 2], "mlp.down", "u"), block([1, 2], "mlp.up"), block([1, 2, 3])]) {
      await expect(first([one, one, other], [], ctx)).rejects.toMatchObject({ code: "LAYERS_INCOMPATIBLE" });
    }
  });

  it("hands every role's values, weights and name to the formula, row-major", async () => {
    const view: BlockView = {
      layer: 0,
      type: "t",
      tensors: new Map([["mlp.down", tensor(Float64Array.of(1, 2, 3, 4), [2, 2], [1, 2])]]),
    };
    const seen: unknown[] = [];
    const merged = await tensorwise((values, weights, role) => {
      seen.push(values, weights, role);
      return values[1];
    })([view, view], [0.5, 0.5], ctx);
    const rows = Float32Array.of(1, 3, 2, 4);
    expect(seen).toEqual([[rows, rows], [0.5, 0.5], "mlp.down"]);
    expect(merged.tensors.get("mlp.down")).toMatchObject({ shape: [2, 2], stride: [2, 1], data: rows });
  });
});

it("a plan's shares count the kept layers' own shapes", () => {
  const shapes = [4, 6, 10].map((n) => ({ shapes: new Map([["mlp.down", [1, n]]]) }));
  const architecture = {
    blocks: shapes,
    globals: new Map([["embedding", [5, 2]]]),
  } as unknown as Architecture;
  const groups = [{ layers: [0] }, { layers: [1, 2], weights: [0, 1] }];
  // Dense 10 + 4 + 6 + 10; layers 0 and 2 stay.
  expect(planShares(parsePlan({ version: 1, num_hidden_layers: 3, groups }), architecture)).toEqual({
    denseParameterCount: 30,
    parameterCount: 24,
    parameterRatio: 1 - 24 / 30,
    layerRatio: 1 - 2 / 3,
  });
  const merged = parsePlan({
    version: 1,
    num_hidden_layers: 3,
    groups: [{ layers: [0] }, { layers: [1, 2] }],
  });
  expect(planShares(merged, architecture).parameterCount).toBe(20);
});

it("a norm's bias needs a map's that takes it, if a single entry of it is not 0", () => {
  const view = (...bias: number[]) =>
    ({
      layer: 0,
      type: "t",
      spec: {
        linearLayout: "out-in",
        mixerNorm: { weight: "norm.attention", bias: "norm.attention.bias", weightOffset: 0 },
      },
      tensors: new Map([
        ["norm.attention", tensor(Float32Array.of(2, 3))],
        ["norm.attention.bias", tensor(Float32Array.from(bias))],
        ["attention.query", tensor(Float32Array.of(1, 1, 1, 1), [2, 2])],
      ]),
    }) as unknown as BlockView;
  expect([...foldNorms(view(0, 0)).tensors.get("attention.query")!.data]).toEqual([2, 3, 2, 3]);
  expect(() => foldNorms(view(0, 0.5))).toThrow(expect.objectContaining({ code: "NORM_NOT_FOLDABLE" }));
});
