import { contiguousData, type Matrix, type QuantizedTensor, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { graphBuilder, nBitsProduct, nBitsRows, openSession } from "@layerfold/onnx";
import { describe, expect, it } from "vitest";
import { dequantize } from "./dequantize.js";
import { rtn } from "./rtn.js";
import { runningSummary, runningWeight } from "./running-weights.js";

const rng = seededRng(4);
const ctx: RunContext = { rng, engine: portableEngine() };
const [rows, columns, tokens] = [24, 96, 5];
const random = (count: number) => Float32Array.from({ length: count }, () => rng.normal());

async function quantized(bits: 2 | 3 | 4 | 8, groupSize: number, symmetric: boolean) {
  const weight = tensor(random(rows * columns), [rows, columns]);
  return rtn({ bits, groupSize, symmetric }).quantize(weight, { tokenCount: 0 }, ctx);
}

/** x · Wᵀ and two of W's rows, by ONNX Runtime's kernels. */
async function run(codes: QuantizedTensor, x: Float32Array, at: readonly [number, number]) {
  const weight = runningWeight(codes);
  if (weight.form !== "n-bits" || typeof weight.codes === "string") throw new Error(weight.form);
  const { shape, bits, blockSize, scales, zeroPoints } = weight;
  const blocks = shape[1] / blockSize;
  const bytes = (blockSize * bits) / 8;
  const graph = graphBuilder();
  const data = (name: string, dims: readonly number[], values: Uint8Array) =>
    graph.data(`${name}.${dims.length}`, "uint8", dims, values);
  const rest = {
    scales: graph.constant("float32", scales, [shape[0], blocks]),
    ...(zeroPoints && {
      zeroPoints: data("zeros", [shape[0], zeroPoints.length / shape[0]], zeroPoints),
    }),
  };
  const product = nBitsProduct(
    graph,
    graph.input("x", "float32", [tokens, columns]),
    weight,
    { codes: data("codes", [shape[0], blocks, bytes], weight.codes), ...rest },
    0,
  );
  graph.output("y", product, "float32", [tokens, rows]);
  // No kernel looks up rows of 2 bits.
  if (bits !== 2) {
    const values = { codes: data("codes", [shape[0], blocks * bytes], weight.codes), ...rest };
    const looked = nBitsRows(graph, graph.input("at", "int64", [2]), weight, values);
    graph.output("rows", looked, "float32", [2, columns]);
  }
  const session = await openSession(graph.build(), { threads: 1 });
  const result = await session.run({
    x: { dtype: "float32", shape: [tokens, columns], data: x },
    ...(bits !== 2 && { at: { dtype: "int64", shape: [2], data: BigInt64Array.from(at, BigInt) } }),
  });
  await session.close();
  return { y: result.y.data as Float32Array, rows: result.rows?.data as Float32Array | undefined };
}

async function expectDequantised(codes: QuantizedTensor) {
  const x = random(tokens * columns);
  const dense = dequantize(codes);
  const expected = await ctx.engine.matmul<Matrix>(tensor(x, [tokens, columns]), dense, { transposeB: true });
  const { y, rows: looked } = await run(codes, x, [3, 20]);
  // Sums of 96 float32 products of size up to 10.
  contiguousData(expected).forEach((value, i) => {
    expect(Math.abs(y[i] - value)).toBeLessThan(5e-5);
  });
  if (!looked || codes.groupIndex) return;
  const values = contiguousData(dense);
  [3, 20].forEach((row, i) => {
    for (let j = 0; j < columns; j++) {
      expect(looked[i * columns + j]).toBeCloseTo(values[row * columns + j], 6);
    }
  });
}

describe("ONNX Runtime multiplies by, and looks up, the weights that the codes stand for", () => {
  for (const bits of [2, 3, 4, 8] as const) {
    for (const symmetric of [true, false]) {
      // 96 and 48 are no powers of two: several blocks share a scale.
      for (const groupSize of [16, 32, 48, -1]) {
        it(`${bits} bits, ${symmetric ? "symmetric" : "asymmetric"}, groups of ${groupSize}`, async () => {
          await expectDequantised(await quantized(bits, groupSize, symmetric));
        });
      }
    }
  }

  it("channels in an activation order", async () => {
    const codes = await quantized(4, 32, false);
    const groupIndex = Int32Array.from({ length: columns }, (_, j) => (j * 7) % 3);
    await expectDequantised({ ...codes, groupIndex });
  });
});

describe("what no kernel takes is simulated", () => {
  for (const [name, change] of [
    ["groups of 8", { groupSize: 8 }],
    ["float8", { encoding: "float8_e4m3" as const, zeroPoints: new Uint8Array(rows * 12) }],
    ["groups of unequal sizes", { groupSize: 8, groupIndex: new Int32Array(columns) }],
  ] as const) {
    it(name, async () => {
      const codes = { ...(await quantized(4, 8, true)), ...change };
      const weight = runningWeight(codes);
      expect(weight).toEqual({
        form: "simulated",
        shape: [rows, columns],
        values: contiguousData(dequantize(codes)),
      });
      expect(runningSummary([weight, runningWeight(await quantized(4, 32, true))])).toEqual({
        packed: 1,
        simulated: 1,
        simulated_activations: null,
      });
    });
  }
});

it("points at stored codes only where they are the kernel's own", async () => {
  expect(runningWeight(await quantized(4, 32, true), "m.weight_packed")).toHaveProperty(
    "codes",
    "m.weight_packed",
  );
  for (const codes of [
    await quantized(3, 32, true),
    { ...(await quantized(4, 32, true)), groupIndex: Int32Array.from({ length: columns }, (_, j) => j % 3) },
  ]) {
    expect(runningWeight(codes, "m.weight_packed")).toHaveProperty("codes", expect.any(Uint8Array));
  }
});
