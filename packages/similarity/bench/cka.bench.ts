// npx vitest bench --run packages/similarity/bench/cka.bench.ts

import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { afterAll, bench } from "vitest";
import { linearCka, similarityMatrix } from "../src/index.js";

const layerCount = 32;
const samples = 2048;
const features = 4096;
const engine = onnxEngine();
const rng = seededRng(1);
const ctx: RunContext = { rng, engine };

/** A random walk, as a residual stream is one. */
const layers: Matrix<Float32Array>[] = [];
for (let l = 0; l < layerCount; l++) {
  const before = layers.at(-1)?.data;
  const step = Float32Array.from({ length: samples * features }, () => rng.uniform() - 0.5);
  layers.push(tensor(before ? step.map((v, at) => before[at] + 0.3 * v) : step, [samples, features]));
}

const seconds = new Map<string, number>();
function once(name: string, run: () => Promise<unknown>): void {
  bench(
    name,
    async () => {
      const start = performance.now();
      await run();
      seconds.set(name, (performance.now() - start) / 1000);
    },
    { iterations: 1, time: 0, warmupIterations: 0, warmupTime: 0 },
  );
}

once("linear CKA", () => similarityMatrix(linearCka(), layers, ctx));
once("bare Gram products", async () => {
  for (const layer of layers) await engine.matmul(layer, layer, { transposeB: true });
});
/** The rival: the same formula through plain TypeScript products, one eighth of the features of one layer. */
once("plain Gram, 1/256 of the work", () => {
  const slice = tensor(layers[0].data, [samples, features / 8], [features, 1]);
  return portableEngine().matmul(slice, slice, { transposeB: true });
});

afterAll(async () => {
  await engine.close();
  const own = seconds.get("linear CKA")!;
  const bare = seconds.get("bare Gram products")!;
  const plain = seconds.get("plain Gram, 1/256 of the work")! * 256;
  console.log(`linear CKA, ${layerCount} layers of [${samples}, ${features}]: ${own.toFixed(2)} s`);
  console.log(`${(own / bare).toFixed(2)} times its bare Gram products (${bare.toFixed(2)} s)`);
  console.log(`${(plain / own).toFixed(0)} times faster than the Gram products in plain TypeScript alone`);
});
