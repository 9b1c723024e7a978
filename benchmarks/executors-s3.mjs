// A foldling grid whose store is a bucket: in this process with a folder, then with two workers and with a worker started by hand that share a
// bucket on a server that runs here. Holds the results against one another byte by byte and writes benchmarks/results/executors-s3.md.
// Usage: LAYERFOLD_MOTO=PATH/TO/moto_server node benchmarks/executors-s3.mjs [--small] [--busy]   (after npm run setup; pip install 'moto[server]')
//   --small   a third of the grid, less text and other, fewer questions
//   --busy    says so in the page: other programs kept the cores busy
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const foldling = join(root, "models/foldling");
const bin = join(root, "packages/cli/bin/layerfold.js");
const server = process.env.LAYERFOLD_MOTO || "moto_server";
const port = 5597;
const scratch = mkdtempSync(join(tmpdir(), "layerfold-bucket-"));
const at = (name) => join(scratch, name);
const given = process.argv.slice(2);
const small = given.includes("--small");
const [rows, questions] = small ? [20, "questions-dev"] : [60, "questions-test"];
const recipe = {
  model: join(foldling, "checkpoint"),
  calibration: `${join(foldling, "data/calibration.jsonl")}[0:40]`,
  evaluate: {
    texts: [`${join(foldling, "data/validation.jsonl")}[0:${rows}]`],
    questions: join(foldling, `data/${questions}.jsonl`),
  },
  methods: small ? ["mka", "shortgpt"] : ["mka", "shortgpt", "laco"],
  layers: small ? [14] : [14, 12],
};
writeFileSync(at("grid.json"), JSON.stringify(recipe));

/** @param cache - stands for a machine: what it has read lies there */
const environment = (cache) => ({
  ...process.env,
  AWS_ENDPOINT_URL: `http://127.0.0.1:${port}`,
  AWS_REGION: "us-east-1",
  AWS_ACCESS_KEY_ID: "anybody",
  AWS_SECRET_ACCESS_KEY: "anything",
  LAYERFOLD_STORE_CACHE: at(cache),
});
const start = (cache, ...args) =>
  spawn(process.execPath, [bin, ...args, "--json", "--quiet"], {
    env: environment(cache),
    stdio: ["ignore", "pipe", "inherit"],
  });

async function ended(child) {
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${child.spawnargs.join(" ")} ended with ${code}`);
  return JSON.parse(text);
}

/** A run of the grid. */
async function run(name, ...args) {
  const startedAt = performance.now();
  const { tasks } = await ended(start(`cache-${name}`, "run", at("grid.json"), "--out", at(name), ...args));
  const seconds = (performance.now() - startedAt) / 1000;
  console.error(`${name}: ${seconds.toFixed(1)} s, ${tasks.made} made, ${tasks.found} found`);
  return { name, seconds, tasks };
}

/** @returns how many files two folders have, if all are the same in both */
function sameFiles(a, b) {
  const files = (folder) =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(folder.length))
      .sort();
  const names = files(a);
  if (names.join() !== files(b).join()) return undefined;
  return names.every((name) => readFileSync(join(a, name)).equals(readFileSync(join(b, name))))
    ? names.length
    : undefined;
}

const log = [];
const moto = spawn(server, ["-H", "127.0.0.1", "-p", `${port}`], { stdio: ["ignore", "ignore", "pipe"] });
moto.stderr.on("data", (chunk) => log.push(`${chunk}`));
/** Requests that the server has answered so far. */
const requests = () => log.join("").match(/HTTP\/1\.1/g)?.length ?? 0;
try {
  const url = `http://127.0.0.1:${port}/layerfold`;
  for (let made; !made?.ok; await sleep(200))
    made = await fetch(url, { method: "PUT" }).catch(() => undefined);
  const runs = [await run("here")];
  const before = requests();
  runs.push(await run("two-workers", "--store", "s3://layerfold/two", "--workers", "2"));
  const asked = requests() - before;
  // On what might be another machine: it has nothing but the address.
  const byHand = start("cache-elsewhere", "work", "--store", "s3://layerfold/hand");
  const worked = ended(byHand);
  runs.push(await run("by-hand", "--store", "s3://layerfold/hand", "--workers", "0"));
  const freed = [];
  for (const [name, cache] of [
    ["two", "cache-two-workers"],
    ["hand", "cache-by-hand"],
  ])
    freed.push(await ended(start(cache, "clean", `s3://layerfold/${name}`)));
  const { made } = await worked;
  for (const name of ["two", "hand"]) {
    const left = await (await fetch(`${url}?list-type=2&prefix=${name}/`)).text();
    if (left.includes("<Contents>")) throw new Error(`clean left something: ${left}`);
  }
  const sdk = JSON.parse(
    readFileSync(join(root, "packages/store-s3/node_modules/@aws-sdk/client-s3/package.json"), "utf8"),
  );
  const python = join(dirname(server), "python");
  const version = existsSync(python)
    ? execFileSync(python, ["-c", "import moto; print(moto.__version__)"], { encoding: "utf8" }).trim()
    : "of unknown version";
  const same = runs.map(({ name }) => sameFiles(at("here"), at(name)));
  const places = {
    here: "in this process, a folder",
    "two-workers": "`--workers 2`, a bucket",
    "by-hand": "a worker started by hand with another cache, a bucket",
  };
  const lines = runs.map(({ name, seconds, tasks }, i) => {
    const files = same[i] === undefined ? "**differ**" : `the same ${same[i]}`;
    return `| ${places[name]} | ${tasks.made} | ${seconds.toFixed(0)} | ${files} |`;
  });
  const text = `# A grid whose store is a bucket

\`node ${["benchmarks/executors-s3.mjs", ...given].join(" ")}\` writes this page. Foldling, ${recipe.methods.join(", ")} at ${recipe.layers.join(" and ")} layers, ${rows} validation rows and
\`${questions}.jsonl\`. Node ${process.version}, ${cpus().length} cores of ${cpus()[0].model}, @aws-sdk/client-s3 ${sdk.version}, moto ${version} on the same machine.${given.includes("--busy") ? "\nOther programs kept all cores busy meanwhile: the seconds tell an order of magnitude, no more." : ""}

| where tasks run, and the store | tasks made | s | files of OUT, held against the first row's |
| --- | --: | --: | --- |
${lines.join("\n")}

- The worker that was started by hand made ${made} of the ${runs[2].tasks.made} tasks, and ended by itself once \`layerfold clean\` had removed the store. What is not a worker's
  (tasks that only wait for others) stays with the run.
- The run with two workers sent ${asked} requests, ${(asked / runs[1].tasks.made).toFixed(0)} for each task.
- \`layerfold clean\` freed ${freed.map(({ tasks, bytes }) => `${tasks} tasks, ${(bytes / 2 ** 20).toFixed(0)} MiB`).join(", and ")}; nothing was left in the bucket.
`;
  writeFileSync(join(root, "benchmarks/results/executors-s3.md"), text);
  console.log(text);
  if (same.includes(undefined)) process.exitCode = 1;
} finally {
  moto.kill();
  rmSync(scratch, { recursive: true, force: true });
}
