// npx vitest bench --run packages/manifold/bench/diffusion-map.bench.ts
import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { onnxEngine } from "@layerfold/onnx";
import { afterAll, bench } from "vitest";
import { diffusionMap } from "../src/index.js";

const layers = 32;
const samples = 2048;
const features = 4096;
const manySamples = 100_000;
const fewFeatures = 576;

const engine = onnxEngine();
const ctx: RunContext = { rng: seededRng(1), engine };

/** Points near a subspace of eight directions of falling variance, [rows, columns] float32. */
async function points(rows: number, columns: number, seed: number): Promise<Matrix<Float32Array>> {
  const rng = seededRng(seed);
  const code = Float32Array.from({ length: rows * 8 }, (_, at) => rng.normal() / (1 + (at % 8)));
  const map = Float32Array.from({ length: 8 * columns }, () => rng.normal());
  const made: Matrix<Float32Array> = await engine.matmul(tensor(code, [rows, 8]), tensor(map, [8, columns]));
  for (let at = 0; at < made.data.length; at++) made.data[at] += 0.3 * (rng.uniform() - 0.5);
  return made;
}

// Four different layers stand for the 32: what matters is the work, and memory stays small.
const distinct = await Promise.all([1, 2, 3, 4].map((seed) => points(samples, features, seed)));
const many = await points(manySamples, fewFeatures, 5);

const seconds = { gram: 0, kernel: { mka: 0, gaussian: 0 }, landmark: 0 };
const clock = async (run: () => Promise<unknown>) => {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
};
const once = { iterations: 1, time: 0, warmupIterations: 0, warmupTime: 0 };

// Rival and subject take turns, so that whatever else the machine does meets both.
bench(
  `${layers} diffusion maps, ${samples} x ${features}`,
  async () => {
    for (let layer = -1; layer < layers; layer++) {
      const x = distinct[(layer + 4) % 4];
      const gram = await clock(() => engine.matmul(x, x, { transposeB: true }));
      const mka = await clock(() => diffusionMap().fit(x, ctx));
      const gaussian = await clock(() => diffusionMap({ kernel: "gaussian" }).fit(x, ctx));
      if (layer < 0) continue; // warms everything up
      seconds.gram += gram;
      seconds.kernel.mka += mka;
      seconds.kernel.gaussian += gaussian;
    }
  },
  once,
);

bench(
  `landmark diffusion map, ${manySamples} x ${fewFeatures}`,
  async () => {
    seconds.landmark = await clock(() => diffusionMap({ form: "landmark" }).fit(many, ctx));
  },
  once,
);

const scaling = new Map<number, number>();
bench(
  "samples 512, 1024, 2048",
  async () => {
    for (const rows of [512, 1024, 2048]) {
      const x = tensor(distinct[0].data, [rows, features]);
      await diffusionMap().fit(x, ctx);
      scaling.set(rows, await clock(() => diffusionMap().fit(x, ctx)));
    }
  },
  once,
);

afterAll(async () => {
  await engine.close();
  console.log(`${layers} Gram products: ${seconds.gram.toFixed(1)} s`);
  for (const [kernel, took] of Object.entries(seconds.kernel)) {
    console.log(
      `${layers} diffusion maps, ${kernel}: ${took.toFixed(1)} s, ${(took / seconds.gram).toFixed(2)} times the products`,
    );
  }
  const peak = (process.resourceUsage().maxRSS / 2 ** 20).toFixed(2);
  console.log(
    `landmark, ${manySamples} samples: ${seconds.landmark.toFixed(1)} s; peak memory of this whole run ${peak} GiB`,
  );
  const exponent = Math.log2(scaling.get(2048)! / scaling.get(512)!) / 2;
  console.log(`time grows with samples to the power ${exponent.toFixed(2)} (512 to 2048)`);
});
