// npx vitest bench --run packages/onnx/bench/matmul.bench.ts

import { tensor } from "@layerfold/core";
import { Matrix } from "ml-matrix";
import { afterAll, bench } from "vitest";
import { onnxEngine } from "../src/index.js";

const size = 1024;
const operations = 2 * size ** 3;
const engine = onnxEngine();
const values = Float32Array.from({ length: size * size }, (_, i) => Math.sin(i));
const single = tensor(values, [size, size]);
const double = tensor(Float64Array.from(values), [size, size]);
const plain = Matrix.from1DArray(size, size, values);
const seconds = new Map<string, number>();

function timed(name: string, run: () => Promise<unknown> | unknown, iterations: number): void {
  bench(
    name,
    async () => {
      const start = performance.now();
      await run();
      const took = (performance.now() - start) / 1000;
      seconds.set(name, Math.min(took, seconds.get(name) ?? Number.POSITIVE_INFINITY));
    },
    { iterations, time: 0, warmupIterations: 1, warmupTime: 0 },
  );
}

timed("onnx float32", () => engine.matmul(single, single), 10);
timed("onnx float32 Gram", () => engine.matmul(single, single, { transposeA: true }), 10);
timed("onnx float64", () => engine.matmul(double, double), 10);
timed("onnx float64 Gram", () => engine.matmul(double, double, { transposeA: true }), 10);
timed("ml-matrix", () => plain.mmul(plain), 1);

afterAll(async () => {
  await engine.close();
  const reference = seconds.get("ml-matrix")!;
  for (const [name, took] of seconds) {
    const rate = (operations / took / 1e9).toFixed(1);
    console.log(`${name}: ${rate} GFLOP/s, ${(reference / took).toFixed(0)} times ml-matrix`);
  }
});
