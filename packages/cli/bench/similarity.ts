/**
 * Diffusion maps, NPIB and linear CKA between 32 layers, each beside its rivals in one run: bare matrix products, plain JavaScript, ml-matrix,
 * and, where LAYERFOLD_PYTHON (default python3) has them, numpy and scikit-learn as MKA's authors use them.
 *
 * npx jiti packages/cli/bench/similarity.ts [RESULTS.md]
 */
import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { totalmem } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Matrix, type RunContext, tensor } from "@layerfold/core";
import { npib } from "@layerfold/information";
import { portableEngine, seededRng, squaredDistances } from "@layerfold/linalg";
import { diffusionMap } from "@layerfold/manifold";
import { onnxEngine } from "@layerfold/onnx";
import { platformFact } from "@layerfold/pipeline";
import { linearCka, similarityMatrix } from "@layerfold/similarity";
import { EigenvalueDecomposition, Matrix as PlainMatrix } from "ml-matrix";

const layerCount = 32;
const samples = 2048;
const features = 4096;
const pairCount = (layerCount * (layerCount - 1)) / 2;
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

/** Gaussian layers in the plane, each correlated with the one before. */
function plane(count: number, rho: number, rows: number): Matrix<Float64Array>[] {
  const rng = seededRng(2);
  const layers = [tensor(Float64Array.from({ length: 2 * rows }, rng.normal), [rows, 2])];
  while (layers.length < count) {
    const step = layers[layers.length - 1].data.map((v) => rho * v + Math.sqrt(1 - rho * rho) * rng.normal());
    layers.push(tensor(step, [rows, 2]));
  }
  return layers;
}

/** Long runs say where they are. */
function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function clock(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) / 1000;
}

async function best(repetitions: number, run: () => unknown): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let k = 0; k < repetitions; k++) least = Math.min(least, await clock(run));
  return least;
}

/** Slope of log seconds over log size by least squares: the exponent p of a cost that grows as size^p. */
async function exponent(sizes: readonly number[], run: (size: number) => () => unknown): Promise<number> {
  const x = sizes.map(Math.log);
  const y: number[] = [];
  for (const size of sizes) y.push(Math.log(await best(2, run(size))));
  const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  const along = x.reduce((sum, v, i) => sum + (v - mx) * (y[i] - my), 0);
  return along / x.reduce((sum, v) => sum + (v - mx) ** 2, 0);
}

/** KSG's two steps with the distances of all samples to all, as the textbook has them. */
function naiveInformation({ data: x }: Matrix, { data: y }: Matrix): number {
  const count = x.length / 2;
  let counted = 0;
  const [dx, dy, joint] = [new Float64Array(count), new Float64Array(count), new Float64Array(count)];
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      dx[j] = Math.max(Math.abs(x[2 * i] - x[2 * j]), Math.abs(x[2 * i + 1] - x[2 * j + 1]));
      dy[j] = Math.max(Math.abs(y[2 * i] - y[2 * j]), Math.abs(y[2 * i + 1] - y[2 * j + 1]));
      joint[j] = Math.max(dx[j], dy[j]);
    }
    const radius = Float64Array.from(joint).sort()[5];
    for (let j = 0; j < count; j++) counted += +(dx[j] < radius) + +(dy[j] < radius);
  }
  return counted;
}

/** A diffusion map's eigenvectors by ml-matrix's full decomposition of the same kernel. */
async function plainDiffusionMap(layer: Matrix): Promise<void> {
  const [size] = layer.shape;
  const squared = await squaredDistances(layer, ctx);
  const kernel = PlainMatrix.from1DArray(size, size, squared.data).apply(function (this: PlainMatrix, i, j) {
    this.set(i, j, Math.exp(-Math.sqrt(Math.sqrt(this.get(i, j)) / 8)));
  });
  const p = kernel.sum("row");
  kernel.apply(function (this: PlainMatrix, i, j) {
    this.set(i, j, this.get(i, j) / Math.sqrt(p[i] * p[j]));
  });
  const v = kernel.sum("row").map(Math.sqrt);
  kernel.apply(function (this: PlainMatrix, i, j) {
    this.set(i, j, this.get(i, j) / (v[i] * v[j]));
  });
  new EigenvalueDecomposition(kernel, { assumeSymmetric: true });
}

interface PythonTimes {
  readonly versions: string;
  readonly diffusion_map_per_layer: number;
  readonly npib_per_pair: number;
  readonly npib_per_layer: number;
  readonly cka_per_layer: number;
  readonly cka_per_pair: number;
}

function pythonTimes(): PythonTimes | undefined {
  const script = fileURLToPath(new URL("../../../tools/bench_rivals.py", import.meta.url));
  const python = process.env.LAYERFOLD_PYTHON ?? "python3";
  const { status, stdout } = spawnSync(python, [script, `${samples}`, `${features}`], { encoding: "utf8" });
  return status === 0 ? JSON.parse(stdout) : undefined;
}

async function landmark(): Promise<{ seconds: number; peakBytes: number }> {
  const many = await points(manySamples, fewFeatures, 5);
  const seconds = await clock(() => diffusionMap({ form: "landmark" }).fit(many, ctx));
  return { seconds, peakBytes: process.resourceUsage().maxRSS * 1024 };
}

/** In a process of its own, so that its peak memory is its own. */
async function landmarkApart(): Promise<{ seconds: number; peakBytes: number }> {
  const jiti = join(createRequire(import.meta.url).resolve("jiti/package.json"), "../lib/jiti-cli.mjs");
  const child = fork(jiti, [fileURLToPath(import.meta.url), "--landmark"]);
  const [found] = await once(child, "message");
  return found as { seconds: number; peakBytes: number };
}

async function main(): Promise<void> {
  // Four different layers stand for the 32: what matters is the work, and memory stays small.
  const distinct = await Promise.all([1, 2, 3, 4].map((seed) => points(samples, features, seed)));
  const seconds = { gram: 0, mka: 0, gaussian: 0 };
  // Rival and subject take turns, so that whatever else the machine does meets both.
  for (let layer = -1; layer < layerCount; layer++) {
    const x = distinct[(layer + 4) % 4];
    const gram = await clock(() => engine.matmul(x, x, { transposeB: true }));
    const mka = await clock(() => diffusionMap().fit(x, ctx));
    const gaussian = await clock(() => diffusionMap({ kernel: "gaussian" }).fit(x, ctx));
    if (layer < 0) continue; // warms everything up
    seconds.gram += gram;
    seconds.mka += mka;
    seconds.gaussian += gaussian;
  }
  say(`seconds: ${JSON.stringify(seconds)}`);
  const layers = Array.from({ length: layerCount }, (_, l) => distinct[l % 4]);
  const cka = await clock(() => similarityMatrix(linearCka(), layers, ctx));
  // An eighth of the rows on either side and of the features.
  const slice = tensor(distinct[0].data, [samples / 8, features / 8], [features, 1]);
  const plainGram = (await best(2, () => portableEngine().matmul(slice, slice, { transposeB: true }))) * 512;

  say(`linear CKA: ${cka} s`);

  const correlations = [0, 0.9, 0.99, 0.999];
  const information: number[] = [];
  for (const rho of correlations) {
    const embedded = plane(layerCount, rho, samples);
    information.push(await best(2, () => similarityMatrix(npib(), embedded, ctx)));
  }
  say(`NPIB: ${information} s`);
  const [first, second] = plane(2, 0.9, samples);
  const naive = (await best(2, () => naiveInformation(first, second))) * pairCount;

  const small = tensor(distinct[0].data.slice(0, 512 * features), [512, features]);
  const ownSmall = await best(3, () => diffusionMap().fit(small, ctx));
  const plainSmall = await clock(() => plainDiffusionMap(small));

  say(`512 samples: ${ownSmall} s, ml-matrix ${plainSmall} s`);
  const grows = {
    diffusionMap: await exponent([512, 1024, 2048], (n) => {
      const x = tensor(distinct[0].data, [n, features]);
      return () => diffusionMap().fit(x, ctx);
    }),
    npib: await exponent([1000, 2000, 4000, 8000], (n) => {
      const pair = plane(2, 0.9, n);
      return () => similarityMatrix(npib(), pair, ctx);
    }),
    cka: await exponent([512, 1024, 2048], (n) => {
      const few = layers.slice(0, 4).map(({ data }) => tensor(data, [n, features]));
      return () => similarityMatrix(linearCka(), few, ctx);
    }),
  };
  await engine.close();
  const large = await landmarkApart();
  say(`landmark: ${JSON.stringify(large)}; growth ${JSON.stringify(grows)}`);
  const python = pythonTimes();

  const s = (value: number) => `${value.toFixed(value < 10 ? 2 : 1)} s`;
  const times = (rival: number, own: number) => `${s(rival)} (× ${(rival / own).toPrecision(2)})`;
  const bare = (own: number) => `${s(seconds.gram)}: ours is × ${(own / seconds.gram).toFixed(2)}`;
  const theirs = (own: number, found: (p: PythonTimes) => number) =>
    python ? times(found(python), own) : "–";
  const shape = `${layerCount} layers of [${samples}, ${features}]`;
  const map = (kernel: "mka" | "gaussian") =>
    `| diffusion map, ${kernel} kernel, ${shape} | ${s(seconds[kernel])} | ≤ 2 × the bare Gram products | ${bare(seconds[kernel])} | 512 samples, 1 layer, ml-matrix: ${times(plainSmall, ownSmall)} | ${theirs(seconds[kernel], (p) => layerCount * p.diffusion_map_per_layer)} |`;
  const { cpu, cores, node, onnxruntime, os } = platformFact();
  const report = `# Similarity: speed

\`LAYERFOLD_PYTHON=python npx jiti packages/cli/bench/similarity.ts benchmarks/results/similarity.md\` on ${new Date().toISOString().slice(0, 10)}; ${cores} cores (${cpu}), ${Math.round(totalmem() / 2 ** 30)} GiB, ${os}, Node ${node}, ONNX Runtime ${onnxruntime}${python ? `, ${python.versions}` : ""}.

Rivals ran in the same command; where a rival was timed on a part of the work its time is scaled up. × = how many times our time. numpy + scikit-learn is MKA's authors' way: full singular value decomposition, \`mutual_info_regression\` for every pair.

| what | layerfold | target | bare Gram products | plain JavaScript | numpy + scikit-learn |
|---|---|---|---|---|---|
${map("mka")}
${map("gaussian")}
| linear CKA, ${layerCount} × ${layerCount}, [${samples}, ${features}] | ${s(cka)} | ≤ 10 s | ${bare(cka)} | the Gram products alone: ${times(plainGram * layerCount, cka)} | ${theirs(cka, (p) => layerCount * p.cka_per_layer + pairCount * p.cka_per_pair)} |
${correlations
  .map(
    (rho, i) =>
      `| NPIB ${layerCount} × ${layerCount}, n = ${samples}, d = 2, neighbouring layers' ρ = ${rho} | ${s(information[i])} | ≤ 1.5 s | – | all distances: ${times(naive, information[i])} | ${theirs(information[i], (p) => pairCount * p.npib_per_pair + layerCount * p.npib_per_layer)} |`,
  )
  .join("\n")}
| landmark diffusion map, [${manySamples}, ${fewFeatures}] | ${s(large.seconds)}, peak memory ${(large.peakBytes / 2 ** 30).toFixed(2)} GiB | ≤ 60 s, < 2 GiB | – | – | – |

Growth with the number of samples (exponent of a power law fitted to three sizes or more): diffusion map n^${grows.diffusionMap.toFixed(2)} (512 to 2,048), NPIB of a pair n^${grows.npib.toFixed(2)} (1,000 to 8,000), linear CKA n^${grows.cka.toFixed(2)} (512 to 2,048).
`;
  console.log(report);
  const [file] = process.argv.slice(2);
  if (file) writeFileSync(file, report);
}

if (process.argv.includes("--landmark")) {
  const found = await landmark();
  await engine.close();
  process.send?.(found);
} else {
  await main();
}
