// Mutation tests of the code whose numbers everything else rests on: npm run mutate -- PACKAGE [--share 0.2] [--seed 1] [FILE …]
// Changes one operator, condition or block at a time, runs those of the package's tests which reach it, and prints what no test
// noticed. docs/mutation-tests.md holds the scores.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Stryker } from "@stryker-mutator/core";

/** Files of each package, as globs in its `src`; those with ! are left out. */
const subjects = {
  core: ["*.ts"],
  // Worker threads run the built package, which no mutant reaches.
  information: ["*.ts", "!pair-worker.ts", "!compare-pairs.ts"],
  // Descents of many steps would take hours on instrumented code.
  manifold: ["*.ts", "!{autoencoder,barnes-hut,t-sne}.ts"],
  checkpoint: [
    "{config-reader,duplicate-key,keep-layers,layer-name,layer-types,llama-like,quantized-modules,rope}.ts",
    "{safetensors,serialize-config,token-windows}.ts",
    "families/*.ts",
    "gguf/{config-of-gguf,dequantize}.ts",
  ],
  // Closed forms: what can be said in one formula, without the streams of a model.
  merge: [
    "plan-shares.ts",
    "strategies/{breadcrumbs,dare,difference-sum,fold-norms,magnitude-bounds,slerp,task-arithmetic,ties,weighted}.ts",
    "strategies/{assignment,tensorwise}.ts",
    "repairs/{block-linear,hadamard,normal-equations,update-cosine}.ts",
  ],
  // Packing: codes, scales and zero points to bytes and back.
  quantize: [
    "{awq-format,bitstream,canonical-block,compressed-tensors-format,float8,fp8,gptq-format,grid}.ts",
    "{packed-tensor,rtn,scale-group,scheme}.ts",
  ],
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { share: { type: "string", default: "1" }, seed: { type: "string", default: "1" } },
});
const [name, ...files] = positionals;
if (!(name in subjects)) {
  console.error(`wanted: a package, one of ${Object.keys(subjects).join(", ")}; got: ${name ?? "nothing"}`);
  process.exit(2);
}
process.chdir(fileURLToPath(new URL("..", import.meta.url)));
process.env.MUTATED_PACKAGE = name;
process.env.MUTATED_SAMPLE = `${values.share},${values.seed}`;
const source = `packages/${name}/src`;
const globs = files.length > 0 ? files : subjects[name];
const started = Date.now();
const results = await new Stryker({
  mutate: [
    ...globs.map((glob) => (glob.startsWith("!") ? `!${source}/${glob.slice(1)}` : `${source}/${glob}`)),
    `!${source}/**/*.test*.ts`,
    `!${source}/**/index.ts`,
  ],
  testRunner: "vitest",
  vitest: { configFile: "tools/mutate-vitest.config.ts" },
  plugins: ["@stryker-mutator/vitest-runner", fileURLToPath(new URL("mutate-plugins.mjs", import.meta.url))],
  ignorers: ["spoken"],
  checkers: ["sample"],
  mutator: { excludedMutations: ["StringLiteral"] },
  // What runs once at import (options' limits, tables) would need every test anew, each in a fresh environment.
  ignoreStatic: true,
  ignorePatterns: ["benchmarks", "docs", "*.tsbuildinfo"],
  tempDirName: join(tmpdir(), `layerfold-mutate-${process.pid}`),
  // TypeScript 7 has no compiler API with which to rewrite the configs of a copied project; vitest needs none.
  tsconfigFile: "none.json",
  concurrency: 1,
  // A busy machine must not pass for a test that noticed.
  timeoutMS: 30_000,
  timeoutFactor: 4,
  reporters: ["missed"],
  allowConsoleColors: false,
}).runMutationTest();

const detected = ({ status }) => status === "Killed" || status === "Timeout";
const counted = results.filter((r) => detected(r) || r.status === "Survived" || r.status === "NoCoverage");
const byFile = new Map();
for (const result of counted) {
  const file = result.fileName.replace(/.*\/src\//, "");
  byFile.set(file, [...(byFile.get(file) ?? []), result]);
}
console.log();
for (const [file, mutants] of [...byFile].sort()) {
  console.log(`${file}: ${mutants.filter(detected).length} of ${mutants.length}`);
}
const count = (status) => results.filter((r) => r.status === status).length;
const killed = counted.filter(detected).length;
const score = killed / counted.length;
// Wilson's 95 % interval.
const [n, z] = [counted.length, 1.96];
const middle = (score + z ** 2 / (2 * n)) / (1 + z ** 2 / n);
const reach = (z / (1 + z ** 2 / n)) * Math.sqrt((score * (1 - score)) / n + z ** 2 / (4 * n ** 2));
const percent = (share) => (100 * share).toFixed(1);
console.log(
  `${name}: ${killed} killed (${count("Timeout")} by time), ${count("Survived")} survived, ${count("NoCoverage")} not run; ` +
    `${percent(score)} % of ${n} (95 %: ${percent(middle - reach)} to ${percent(middle + reach)}), ` +
    `from ${n + count("CompileError")} mutants by seed ${values.seed}, in ${Math.round((Date.now() - started) / 1000)} s`,
);
