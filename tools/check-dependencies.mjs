// Dependencies run downwards only, and axis packages never import one another.
import { readdirSync, readFileSync } from "node:fs";

const allowed = {
  core: [],
  testkit: ["core"],
  disk: ["core"],
  tasks: ["core", "disk"],
  "store-s3": ["core", "disk", "tasks"],
  "executor-slurm": ["core", "disk", "tasks"],
  linalg: ["core"],
  onnx: ["core"],
  checkpoint: ["core", "disk"],
  graph: ["core", "disk", "onnx", "checkpoint"],
  capture: ["core", "disk", "onnx", "checkpoint"],
  manifold: ["core", "linalg"],
  information: ["core", "linalg"],
  similarity: ["core", "linalg"],
  merge: ["core", "disk", "linalg", "checkpoint"],
  quantize: ["core", "disk", "linalg", "onnx", "checkpoint"],
  evaluate: ["core", "checkpoint"],
  report: ["core"],
  pipeline: [
    ...[
      "core",
      "disk",
      "tasks",
      "linalg",
      "onnx",
      "checkpoint",
      "graph",
      "capture",
      "manifold",
      "information",
    ],
    ...["similarity", "merge", "quantize", "evaluate", "report"],
  ],
  "executor-bullmq": ["core", "tasks", "pipeline"],
};
// Tests may stand on more than the code does.
const allowedInTests = ["testkit", "foldling", "linalg", "onnx", "graph", "checkpoint", "evaluate"];
const only = {
  "onnxruntime-node": ["onnx"],
  "onnx-buf": ["onnx"],
  "ml-matrix": [],
  bullmq: ["executor-bullmq"],
};

const errors = [];
const root = new URL("../packages/", import.meta.url);
for (const name of readdirSync(root)) {
  if (name !== "cli" && !(name in allowed))
    errors.push(`${name}: not in the table of tools/check-dependencies.mjs`);
  const directory = new URL(`${name}/`, root);
  const manifest = JSON.parse(readFileSync(new URL("package.json", directory), "utf8"));
  // The compiler sees what a package refers to: no more than it may import, so that tests are not built with it.
  const { references } = JSON.parse(readFileSync(new URL("tsconfig.json", directory), "utf8"));
  const referred = references.map(({ path }) => path.replace("../", ""));
  for (const other of referred) {
    if (!manifest.dependencies?.[`@layerfold/${other}`])
      errors.push(`packages/${name}/tsconfig.json: refers to ${other}, which is not in dependencies`);
  }
  for (const relative of readdirSync(directory, { recursive: true })) {
    if (!/\.(ts|mjs|js)$/.test(relative) || /(^|\/)(node_modules|dist)\//.test(relative)) continue;
    const isTest = /\.test(\.fixture)?\.ts$|^test\/|^bench\//.test(relative);
    const source = readFileSync(new URL(relative, directory), "utf8").replace(/^\s*\*.*$/gm, "");
    for (const [, specifier] of source.matchAll(/(?:\bfrom\s+|\bimport(?:\s+|\(\s*))"([^"\n]+)"/g)) {
      const at = `packages/${name}/${relative}`;
      if (/^\.\.\/.*packages\/|^(\.\.\/)+[a-z]+\/(src|dist)\//.test(specifier)) {
        errors.push(`${at}: reaches into another package by path (${specifier})`);
      }
      if (specifier.startsWith(".") || specifier.startsWith("node:")) continue;
      const bare = specifier.startsWith("@")
        ? specifier.split("/").slice(0, 2).join("/")
        : specifier.split("/")[0];
      const internal = bare.match(/^@layerfold\/(.+)$/)?.[1];
      const itself = isTest && internal === name;
      if (internal && name !== "cli" && !itself && !allowed[name]?.includes(internal)) {
        if (!(isTest && allowedInTests.includes(internal))) errors.push(`${at}: may not import ${bare}`);
      }
      if (!internal && only[bare] && !only[bare].includes(name) && !isTest)
        errors.push(`${at}: only ${only[bare]} may import ${bare}`);
      if (!isTest && bare !== manifest.name && !manifest.dependencies?.[bare])
        errors.push(`${at}: ${bare} is not in dependencies`);
      if (!isTest && internal && internal in allowed && !referred.includes(internal))
        errors.push(`${at}: tsconfig.json does not refer to ${internal}`);
    }
  }
}
for (const error of errors) console.error(error);
console.log(
  errors.length === 0 ? "dependencies: run downwards only" : `dependencies: ${errors.length} errors`,
);
process.exitCode = errors.length === 0 ? 0 : 1;
