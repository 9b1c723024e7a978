import {
  type BlockView,
  type CalibrationStatistics,
  contiguousData,
  type Matrix,
  type RunContext,
  type StatisticsKind,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { beforeAll, describe, expect, it } from "vitest";
import { awq } from "./awq.js";
import { statisticsAccumulator } from "./calibration.js";
import { dequantize } from "./dequantize.js";
import { rtn } from "./rtn.js";
import { smoothquant } from "./smoothquant.js";

const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };
const [width, hidden, tokens] = [64, 96, 256];
const rng = seededRng(11);
const random = (...shape: number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal()),
    shape,
  );

/** Norm, gate, up and down with inputs of which every eighth channel is ten times larger. */
const block: BlockView = {
  layer: 0,
  type: "test",
  tensors: new Map<string, Tensor>([
    ["norm.mlp", random(width)],
    ["mlp.gate", random(hidden, width)],
    ["mlp.up", random(hidden, width)],
    ["mlp.down", random(width, hidden)],
  ]),
};
const statistics = new Map<string, CalibrationStatistics>();
const everything: ReadonlySet<StatisticsKind> = new Set([
  "gram",
  "absoluteMaximum",
  "absoluteMean",
  "squareMean",
]);
const inputs = random(1, tokens, width);
for (let i = 0; i < inputs.data.length; i += 8) inputs.data[i] *= 10;

beforeAll(async () => {
  const narrow = statisticsAccumulator(width, everything);
  await narrow.add(inputs, Int32Array.of(tokens), ctx);
  const wide = statisticsAccumulator(hidden, everything);
  await wide.add(random(1, tokens, hidden), Int32Array.of(tokens), ctx);
  statistics.set("mlp.gate", narrow.finish());
  statistics.set("mlp.up", narrow.finish());
  statistics.set("mlp.down", wide.finish());
});

const weight = (view: BlockView, role: string) => view.tensors.get(role) as Tensor;

describe("statisticsAccumulator", () => {
  it("sums over real tokens only, over several batches", async () => {
    const accumulator = statisticsAccumulator(2, everything);
    // Row 0 has one real token, row 1 two; what lies behind is padding.
    const first = tensor(Float32Array.of(1, -2, 99, 99, 3, 4, -5, 6), [2, 2, 2]);
    await accumulator.add(first, Int32Array.of(1, 2), ctx);
    await accumulator.add(tensor(Float32Array.of(0, 7), [1, 1, 2]), Int32Array.of(1), ctx);
    const { tokenCount, gram, absoluteMaximum, absoluteMean, squareMean } = accumulator.finish();
    expect(tokenCount).toBe(4);
    expect([...(gram?.data ?? [])]).toEqual([1 + 9 + 25, -2 + 12 - 30, -2 + 12 - 30, 4 + 16 + 36 + 49]);
    expect([...(absoluteMaximum ?? [])]).toEqual([5, 7]);
    expect([...(absoluteMean ?? [])]).toEqual([9 / 4, 19 / 4]);
    expect([...(squareMean ?? [])]).toEqual([35 / 4, 105 / 4]);
  });
});

describe("smoothquant", () => {
  it("balances activations and weights by equation 4", async () => {
    const smoothed = await smoothquant({ strength: 0.5 }).fit(block, statistics, ctx);
    const activation = statistics.get("mlp.gate")?.absoluteMaximum ?? new Float64Array();
    for (let j = 0; j < width; j++) {
      const column = ["mlp.gate", "mlp.up"].flatMap((role) =>
        Array.from({ length: hidden }, (_, row) =>
          Math.abs(contiguousData(weight(block, role))[row * width + j]),
        ),
      );
      const scale = Math.sqrt(activation[j] / Math.max(...column));
      const gain = contiguousData(weight(smoothed, "norm.mlp"))[j];
      expect(gain / (contiguousData(weight(block, "norm.mlp"))[j] / scale)).toBeCloseTo(1, 5);
      expect(
        contiguousData(weight(smoothed, "mlp.up"))[j] / (contiguousData(weight(block, "mlp.up"))[j] * scale),
      ).toBeCloseTo(1, 5);
    }
    expect(weight(smoothed, "mlp.down")).toBe(weight(block, "mlp.down"));
  });

  it("smooths what the down projection reads through the up projection", async () => {
    const [paper, inner] = [
      await smoothquant({ strength: 0.5 }).fit(block, statistics, ctx),
      await smoothquant({ strength: 0.5, inner: true }).fit(block, statistics, ctx),
    ];
    const activation = statistics.get("mlp.down")?.absoluteMaximum ?? new Float64Array();
    const [down, up] = [weight(block, "mlp.down"), weight(paper, "mlp.up")].map(contiguousData);
    const [smoothedDown, smoothedUp] = [weight(inner, "mlp.down"), weight(inner, "mlp.up")].map(
      contiguousData,
    );
    for (let j = 0; j < hidden; j++) {
      const column = Array.from({ length: width }, (_, row) => Math.abs(down[row * hidden + j]));
      const scale = Math.sqrt(activation[j] / Math.max(...column));
      expect(smoothedDown[j] / (down[j] * scale)).toBeCloseTo(1, 5);
      expect(smoothedUp[j * width] / (up[j * width] / scale)).toBeCloseTo(1, 5);
    }
  });

  it("refuses to run without the largest activations", async () => {
    await expect(async () => smoothquant().fit(block, new Map(), ctx)).rejects.toThrow(
      expect.objectContaining({ code: "STATISTICS_MISSING" }),
    );
  });
});

describe("awq", () => {
  const grid = { bits: 3, groupSize: 32, symmetric: false, scaleDtype: "float32" } as const;

  /** Σ (W·x − Q·x/s)² over the calibration tokens, the scales taken from what became of the norm. */
  async function loss(view: BlockView, role: string): Promise<number> {
    const gain = (v: BlockView) => contiguousData(weight(v, "norm.mlp"));
    const scales = role === "mlp.down" ? undefined : gain(block).map((value, j) => value / gain(view)[j]);
    const quantized = dequantize(
      await rtn(grid).quantize(weight(view, role) as Matrix, { tokenCount: 0 }, ctx),
    );
    const exact = contiguousData(weight(block, role));
    const delta = Float64Array.from(
      quantized.data,
      (value, i) => value / (scales?.[i % width] ?? 1) - exact[i],
    );
    const gram = statistics.get(role)?.gram as Matrix<Float64Array>;
    const product = await ctx.engine.matmul<Matrix<Float64Array>>(
      tensor(delta, weight(block, role).shape),
      gram,
    );
    return contiguousData(product).reduce((sum, value, i) => sum + value * delta[i], 0);
  }

  it("loses less than rounding alone, and still less with clipping", async () => {
    const scaled = await awq({ ...grid, clip: false }).fit(block, statistics, ctx);
    const clipped = await awq(grid).fit(block, statistics, ctx);
    // Weights of mlp.up are divided again by the scales of mlp.down, so the gate alone is compared.
    const [control, scales, both] = [
      await loss(block, "mlp.gate"),
      await loss(scaled, "mlp.gate"),
      await loss(clipped, "mlp.gate"),
    ];
    expect(scales).toBeLessThan(0.7 * control);
    expect(both).toBeLessThan(scales);
  });

  it("leaves the weights alone where rounding is exact already", async () => {
    const exact: BlockView = {
      ...block,
      tensors: new Map<string, Tensor>([
        ["norm.mlp", weight(block, "norm.mlp")],
        [
          "mlp.gate",
          tensor(
            Float32Array.from({ length: hidden * width }, (_, i) => (i % 8) - 3),
            [hidden, width],
          ),
        ],
      ]),
    };
    const fitted = await awq(grid).fit(exact, statistics, ctx);
    expect(contiguousData(weight(fitted, "mlp.gate"))).toEqual(contiguousData(weight(exact, "mlp.gate")));
  });

  it("refuses to run without a Gram matrix", async () => {
    await expect(async () => awq().fit(block, new Map(), ctx)).rejects.toThrow(
      expect.objectContaining({ code: "STATISTICS_MISSING" }),
    );
  });
});
