import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import { contiguousData, type Matrix, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { type ExternalTensor, graphBuilder, openSession } from "@layerfold/onnx";
import { dequantize, matMulNBits, packCompressedTensors, rtn } from "@layerfold/quantize";
import { afterAll, beforeAll, expect, it } from "vitest";

const rng = seededRng(4);
const ctx: RunContext = { rng, engine: portableEngine() };
const [rows, columns, tokens] = [24, 96, 5];
const random = (count: number) => Float32Array.from({ length: count }, () => rng.normal());

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerfold-nbits-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** y = MatMulNBits(x) in ONNX Runtime, the weight read in place from a safetensors file. */
async function run(
  file: string,
  inputs: { bits: number; blockSize: number; zeroPoints?: Uint8Array },
  weightName: string,
  x: Float32Array,
): Promise<Float32Array> {
  const stored = await openSafetensors(join(folder, file));
  const graph = graphBuilder();
  const external = (name: string, dtype: ExternalTensor["dtype"], shape: readonly number[]) => {
    const found = stored.tensors.get(name);
    if (!found) throw new Error(`no ${name}`);
    const { byteOffset, byteLength } = found;
    return graph.external(name, { dtype, shape, location: file, byteOffset, byteLength });
  };
  const blocks = columns / inputs.blockSize;
  const bytesPerBlock = (inputs.blockSize * inputs.bits) / 8;
  const scaleType = stored.tensors.get("weight_scale")?.dtype as "bfloat16" | "float32";
  const scales = graph.cast(external("weight_scale", scaleType, [rows, blocks]), "float32");
  const operands = [
    graph.input("x", "float32", [tokens, columns]),
    external(weightName, "uint8", [rows, blocks, bytesPerBlock]),
    scales,
  ];
  if (inputs.zeroPoints)
    operands.push(external("zero_points", "uint8", [rows, Math.ceil((blocks * inputs.bits) / 8)]));
  const y = graph.node("MatMulNBits", operands, {
    contrib: true,
    ints: { K: columns, N: rows, bits: inputs.bits, block_size: inputs.blockSize, accuracy_level: 0 },
  });
  graph.output("y", y, "float32", [tokens, rows]);
  const session = await openSession(graph.build(), { externalFolder: folder, threads: 1 });
  const result = await session.run({ x: { dtype: "float32", shape: [tokens, columns], data: x } });
  await session.close();
  await stored.close();
  return result.y.data as Float32Array;
}

for (const bits of [2, 4, 8] as const) {
  for (const symmetric of [true, false]) {
    it(`ONNX Runtime multiplies by the dequantised weight: ${bits} bits, ${symmetric ? "symmetric" : "asymmetric"}`, async () => {
      const weight = tensor(random(rows * columns), [rows, columns]);
      const options = { bits, groupSize: 32, symmetric, scaleDtype: "bfloat16" } as const;
      const quantized = await rtn(options).quantize(weight, { tokenCount: 0 }, ctx);
      const inputs = matMulNBits(quantized, "m");
      const file = `${bits}-${symmetric}.safetensors`;
      // The tensors that a compressed-tensors checkpoint holds anyway; only zero points lie otherwise there.
      const sources = packCompressedTensors(quantized, "pack-quantized", "bfloat16", "m")
        .filter(({ suffix }) => suffix === "weight_packed" || suffix === "weight_scale")
        .map(({ suffix, dtype, shape, bytes }) => ({ name: suffix, dtype, shape, bytes: () => bytes }));
      const { zeroPoints } = inputs;
      if (zeroPoints) {
        const shape = [zeroPoints.length];
        await writeSafetensors(join(folder, file), [
          ...sources,
          { name: "zero_points", dtype: "uint8", shape, bytes: () => zeroPoints },
        ]);
      } else {
        await writeSafetensors(join(folder, file), sources);
      }
      const x = random(tokens * columns);
      const result = await run(file, inputs, "weight_packed", x);
      const dense = dequantize(quantized);
      const expected = await ctx.engine.matmul<Matrix>(tensor(x, [tokens, columns]), dense, {
        transposeB: true,
      });
      // Sums of 96 float32 products of size up to 10.
      contiguousData(expected).forEach((value, i) => {
        expect(Math.abs(result[i] - value)).toBeLessThan(5e-5);
      });
    });
  }
}
