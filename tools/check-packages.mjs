// Packs every package, lints the tarballs, installs them in an empty project and uses them as a stranger would: the examples of their
// READMEs too.
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { createJiti } from "jiti";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const root = fileURLToPath(new URL("..", import.meta.url));
const pnpm = (args, cwd) =>
  execFileSync("npx", ["--yes", "pnpm@10.34.8", ...args], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });

const errors = [];
const scratch = mkdtempSync(join(tmpdir(), "layerfold-pack-"));
try {
  const tarballs = {};
  const directories = ["packages", "models"].flatMap((folder) =>
    readdirSync(join(root, folder)).map((name) => join(root, folder, name)),
  );
  for (const directory of directories.filter((d) => existsSync(join(d, "package.json")))) {
    const { name } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    const packed = JSON.parse(pnpm(["pack", "--json", "--pack-destination", scratch], directory));
    tarballs[name] = packed.filename;
    for (const { path } of packed.files) {
      if (/\.test\.|(^|\/)golden\/|^src\//.test(path)) errors.push(`${name}: packs ${path}`);
    }
    if (!packed.files.some(({ path }) => path === "README.md")) errors.push(`${name}: packs no README.md`);
    const { messages, pkg } = await publint({
      pack: { tarball: new Uint8Array(readFileSync(packed.filename)).buffer },
    });
    for (const message of messages) {
      if (message.type !== "suggestion")
        errors.push(`${name}: ${formatMessage(message, pkg, { color: false })}`);
    }
  }

  const project = join(scratch, "project");
  mkdirSync(project);
  const files = Object.fromEntries(Object.entries(tarballs).map(([name, file]) => [name, `file:${file}`]));
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ private: true, type: "module", dependencies: files, pnpm: { overrides: files } }),
  );
  pnpm(["install", "--ignore-scripts", "--prefer-offline", "--config.confirmModulesPurge=false"], project);
  const libraries = Object.keys(tarballs).filter((name) => name !== "@layerfold/foldling");
  writeFileSync(
    join(project, "use.js"),
    libraries
      .map(
        (name) =>
          `if (Object.keys(await import("${name}")).length === 0) throw new Error("${name} exports nothing");`,
      )
      .join("\n"),
  );
  execFileSync("node", ["use.js"], { cwd: project, stdio: "inherit" });
  for (const name of Object.keys(tarballs)) {
    const text = readFileSync(join(project, "node_modules", name, "README.md"), "utf8");
    for (const [, example] of text.matchAll(/^```js\n(.*?)^```$/gms)) {
      writeFileSync(join(project, "example.js"), example);
      const { status, stderr } = spawnSync("node", ["example.js"], { cwd: project, encoding: "utf8" });
      if (status !== 0) errors.push(`${name}: the example of its README fails: ${stderr.trim()}`);
    }
  }
  const help = execFileSync(join(project, "node_modules", ".bin", "layerfold"), ["--help"], {
    encoding: "utf8",
  });
  if (!help.includes("compress")) errors.push("layerfold --help does not mention compress");

  // Plug-ins of a stranger's own, by path; and npib's worker threads, which must find their file in the installed package.
  const measure = `import { defineSimilarity, z } from "@layerfold/core";
    export default defineSimilarity({
      id: "always", summary: "", optionsSchema: z.strictObject({ value: z.number().default(0) }),
      create: ({ value }) => ({
        traits: { symmetric: true, stochastic: false, range: [0, 1], invariantTo: [] },
        prepare: (layer) => layer, compare: () => value,
      }),
    });`;
  writeFileSync(join(project, "measure.js"), measure);
  writeFileSync(join(project, "measure.mjs"), measure);
  cpSync(join(root, "examples/own-measure/neighbor-overlap.ts"), join(project, "measure.ts"));
  const layerfold = (...args) =>
    JSON.parse(
      execFileSync(join(project, "node_modules", ".bin", "layerfold"), [...args, "--json", "--quiet"], {
        cwd: project,
        encoding: "utf8",
      }),
    );
  const foldling = join(project, "node_modules/@layerfold/foldling");
  layerfold(
    ...["capture", join(foldling, "checkpoint"), "--calibration", join(foldling, "data/calibration.jsonl")],
    ...["--calibration-tokens", "2000", "--pooling", "all", "--out", "capture"],
  );
  for (const path of [
    "own-planner/one-shot-perplexity",
    "own-repair/neuron-scale",
    "own-quantizer/least-squares-rounding",
    "own-task/true-or-false",
  ]) {
    cpSync(join(root, `examples/${path}.ts`), join(project, `${path.split("/")[1]}.ts`));
  }
  writeFileSync(join(project, "claims.jsonl"), '{"claim":"Fog is wet.","holds":true}\n');
  const { rows } = layerfold(
    ...["compress", join(foldling, "checkpoint"), "--layers", "15", "--planner", "./one-shot-perplexity.ts"],
    ...["--strategy", "drop", "--repair", "./neuron-scale.ts", "--then", "./least-squares-rounding.ts"],
    ...["--calibration", join(foldling, "data/calibration.jsonl"), "--calibration-tokens", "2000"],
    ...["--task", "./true-or-false.ts:claims.jsonl", "--set", "quantizer.groupSize=32", "--out", "own"],
  );
  const last = rows.find(({ num_hidden_layers, quantization }) => num_hidden_layers === 15 && quantization);
  if (last?.tasks[0]?.task !== "true-or-false" || last.quantization !== "least-squares-rounding")
    errors.push(`compress by plug-ins of one's own gave ${JSON.stringify(last)}`);
  // The worked example, from the installed packages: the rows of the command line.
  cpSync(join(root, "examples/compress/compress.ts"), join(project, "compress.ts"));
  const { foldFoldling, calibration } = await createJiti(join(project, "use.js")).import("./compress.ts");
  const called = await foldFoldling(join(project, "called"));
  const commanded = layerfold(
    ...["compress", join(foldling, "checkpoint"), "--layers", "14", "--method", "mka", "--seed", "1"],
    ...["--calibration", calibration, "--out", "commanded"],
    ...["--evaluate", `${join(foldling, "data/validation.jsonl")}[0:20]`],
  );
  if (called.rows.length !== 3 || !isDeepStrictEqual(called.rows, commanded.rows))
    errors.push(`compress() gave ${JSON.stringify(called.rows)}, compress ${JSON.stringify(commanded.rows)}`);
  for (const [plugin, set, wanted] of [
    ["./measure.js", "similarity.value=0.25", 0.25],
    ["./measure.mjs", "similarity.value=0.5", 0.5],
    ["./measure.ts", "similarity.neighborCount=3", undefined],
    ["npib", "embedding.dimensions=2", undefined],
  ]) {
    const { matrix } = layerfold(
      ...["similarity", "capture", "--measure", plugin, "--set", set, "--out", "similarity.json"],
      ...(plugin === "npib" ? ["--embedding", "pca"] : []),
    );
    const value = matrix[3][4];
    if (wanted === undefined ? !(value > 0 && value < 1) : value !== wanted)
      errors.push(`similarity by ${plugin} from an installed package gave ${value}`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
for (const error of errors) console.error(error);
console.log(
  errors.length === 0 ? "packed packages: install and import" : `packed packages: ${errors.length} errors`,
);
process.exitCode = errors.length === 0 ? 0 : 1;
