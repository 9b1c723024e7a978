import { fromFloat16Bits, toFloat16Bits } from "@layerfold/core";
import { type ActivationRounding, graphBuilder, openSession } from "@layerfold/onnx";
import { expect, it } from "vitest";
import { roundActivations } from "./round-activations.js";

async function rounded(x: number[], rounding: ActivationRounding): Promise<number[]> {
  const graph = graphBuilder();
  const value = roundActivations(graph, graph.input("x", "float32", [1, x.length]), rounding);
  graph.output("y", value, "float32", [1, x.length]);
  const session = await openSession(graph.build(), { threads: 1 });
  const { y } = await session.run({
    x: { dtype: "float32", shape: [1, x.length], data: Float32Array.from(x) },
  });
  await session.close();
  return [...(y.data as Float32Array)];
}

it("int8: a scale per token, or the file's own, clamped to its range", async () => {
  // s = 127.5 / 127.5 = 1; halves go to even, and 127.5 to the largest code.
  expect(await rounded([127.5, -127.5, 2.5, 3.5, 0.4], { encoding: "int8" })).toEqual([127, -128, 2, 4, 0]);
  expect(await rounded([10, -70, 0.3], { encoding: "int8", scale: 0.5 })).toEqual([10, -64, 0.5]);
});

it("float8_e4m3: three bits after the leading one, up to 448", async () => {
  // Between 16 and 32 the numbers are two apart, halves go to even.
  expect(await rounded([448, 17, 19, -18.9], { encoding: "float8_e4m3" })).toEqual([448, 16, 20, -18]);
  expect(await rounded([1000, 0.5], { encoding: "float8_e4m3", scale: 1 })).toEqual([448, 0.5]);
  // Of float16, float8_e4m3 keeps the numbers with three bits of mantissa.
  const some = [1.125, 0.8125, 3.75].map((x) => fromFloat16Bits(toFloat16Bits(x)));
  expect(await rounded(some, { encoding: "float8_e4m3", scale: 1 })).toEqual(some);
});
