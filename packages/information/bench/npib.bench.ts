// npx vitest bench --run packages/information/bench/npib.bench.ts

import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { portableEngine, seededRng } from "@layerfold/linalg";
import { afterAll, bench } from "vitest";
import { mutualInformation, npib } from "../src/index.js";

const layerCount = 32;
const samples = 2048;
const neighborCount = 5;
const ctx: RunContext = { rng: seededRng(1), engine: portableEngine() };

/** Gaussian layers in the plane, each correlated with the one before. */
function layersOf(count: number, rho: number, rows = samples): Matrix<Float64Array>[] {
  const rng = seededRng(2);
  const layers = [tensor(Float64Array.from({ length: 2 * rows }, rng.normal), [rows, 2])];
  while (layers.length < count) {
    const before = layers[layers.length - 1].data;
    layers.push(
      tensor(
        before.map((v) => rho * v + Math.sqrt(1 - rho * rho) * rng.normal()),
        [rows, 2],
      ),
    );
  }
  return layers;
}

/** Every unordered pair, each layer prepared once, as the driver does it. */
async function allPairs(layers: readonly Matrix[]): Promise<void> {
  const measure = npib({ neighborCount });
  const prepared = await Promise.all(layers.map((layer) => measure.prepare(layer, ctx)));
  for (let l = 0; l < prepared.length; l++) {
    for (let m = l; m < prepared.length; m++) await measure.compare(prepared[l], prepared[m], ctx);
  }
}

/** The rival: distances of all samples to all, as the textbook has it. Returns the sums of counts, to be kept. */
function naive({ data: x }: Matrix, { data: y }: Matrix): number {
  let counted = 0;
  const [dx, dy, joint] = [new Float64Array(samples), new Float64Array(samples), new Float64Array(samples)];
  for (let i = 0; i < samples; i++) {
    for (let j = 0; j < samples; j++) {
      dx[j] = Math.max(Math.abs(x[2 * i] - x[2 * j]), Math.abs(x[2 * i + 1] - x[2 * j + 1]));
      dy[j] = Math.max(Math.abs(y[2 * i] - y[2 * j]), Math.abs(y[2 * i + 1] - y[2 * j + 1]));
      joint[j] = Math.max(dx[j], dy[j]);
    }
    const radius = Float64Array.from(joint).sort()[neighborCount];
    for (let j = 0; j < samples; j++) counted += +(dx[j] < radius) + +(dy[j] < radius);
  }
  return counted;
}

const seconds = new Map<string, number>();
function best(name: string, iterations: number, run: () => unknown): void {
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

const pairs = (layerCount * (layerCount - 1)) / 2;
const correlations = [0, 0.9, 0.99, 0.999];
for (const rho of correlations) {
  const layers = layersOf(layerCount, rho);
  best(`ρ = ${rho}`, 2, () => allPairs(layers));
}
const [first, second] = layersOf(2, 0.9);
best("naive pair", 2, () => naive(first, second));
const sizes = [1000, 4000, 16000];
for (const size of sizes) {
  const [x, y] = layersOf(2, 0.9, size);
  best(`n = ${size}`, 3, () => mutualInformation(x, y, { neighborCount }));
}

afterAll(() => {
  const rival = seconds.get("naive pair")! * pairs;
  for (const rho of correlations) {
    const took = seconds.get(`ρ = ${rho}`)!;
    const ratio = (rival / took).toFixed(0);
    console.log(
      `NPIB ${layerCount}×${layerCount}, n = ${samples}, d = 2, ρ = ${rho}: ${took.toFixed(2)} s, ${ratio} times the naive rate`,
    );
  }
  const growth = Math.log(seconds.get(`n = ${sizes[2]}`)! / seconds.get(`n = ${sizes[0]}`)!);
  console.log(
    `one pair grows as n^${(growth / Math.log(sizes[2] / sizes[0])).toFixed(2)} from ${sizes[0]} to ${sizes[2]}`,
  );
});
