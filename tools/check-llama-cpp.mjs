// Exports every family that llama.cpp has, and foldling whole and folded, as GGUF at f16, and lets llama.cpp judge: its tokenizer must cut the prompt as ours
// does, its greedy text must be ours, token for token, and its logits ours. With --model and --text also a larger model's perplexity at several types, beside our own measure
// of the same file and llama.cpp's own quantisation. Needs a Python with llama-cpp-python: LAYERFOLD_PYTHON, else python3; and takes node-llama-cpp too
// where LAYERFOLD_NODE_LLAMA_CPP names the folder in whose node_modules it lies.
// Usage: node tools/check-llama-cpp.mjs [--model CHECKPOINT --text TEXT --calibration TEXT [--windows 8] [--types f16,q8_0,q4_k_m] [--perplexity-only]] [--only GOLDEN] [--write RESULTS.md]
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { readGguf } from "../packages/checkpoint/dist/gguf/read-gguf.js";
import {
  importGguf,
  openCheckpoint,
  openTokenizer,
  promptIds,
  randomTensors,
  readDocuments,
  tokenWindows,
  writeCheckpoint,
} from "../packages/checkpoint/dist/index.js";
import { tokenBatch } from "../packages/core/dist/index.js";
import { openGenerator, openRunner } from "../packages/graph/dist/index.js";
import { seededRng } from "../packages/linalg/dist/index.js";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    text: { type: "string" },
    calibration: { type: "string" },
    windows: { type: "string", default: "8" },
    types: { type: "string", default: "f16,q8_0,q4_k_m" },
    only: { type: "string" },
    "perplexity-only": { type: "boolean", default: false },
    write: { type: "string" },
  },
});
const root = fileURLToPath(new URL("..", import.meta.url));
const python = process.env.LAYERFOLD_PYTHON ?? "python3";
const probe = spawnSync(python, ["-c", "import llama_cpp"], { encoding: "utf8" });
if (probe.status !== 0) {
  console.log(`skipped: ${python} with llama-cpp-python is not at hand`);
  process.exit(0);
}

const prompt = "Mara went to the mill. Where is Mara? Pell's 12 pears";
const count = 32;
const scratch = mkdtempSync(join(tmpdir(), "layerfold-llama-cpp-"));
const layerfold = (...args) =>
  execFileSync("node", [join(root, "packages/cli/bin/layerfold.js"), ...args, "--json", "--quiet"], {
    encoding: "utf8",
    stdio: ["pipe", "pipe", "pipe"],
  });
const lines = [];
const say = (line) => {
  lines.push(line);
  console.log(line);
};

/** llama-cpp-python in a process of its own, asked one thing after another. */
function openJudge() {
  const child = spawn(python, [join(root, "tools/run_llama_cpp.py")], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(job) {
      child.stdin.write(`${JSON.stringify(job)}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error(`llama.cpp ended at ${JSON.stringify(job).slice(0, 200)}`);
      return JSON.parse(value);
    },
    close: () => child.stdin.end(),
  };
}

/** node-llama-cpp, where it is at hand: what it continues a prompt with. */
async function openNodeJudge() {
  const folder = process.env.LAYERFOLD_NODE_LLAMA_CPP;
  if (!folder) return undefined;
  const require = createRequire(join(folder, "package.json"));
  const entry = require.resolve("node-llama-cpp");
  const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry));
  const { version } = JSON.parse(
    readFileSync(join(folder, "node_modules/node-llama-cpp/package.json"), "utf8"),
  );
  const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error });
  return {
    version,
    async greedy(file, ids, length) {
      const model = await llama.loadModel({ modelPath: file });
      const context = await model.createContext({ contextSize: 256, threads: 1 });
      const tokens = [];
      for await (const token of context
        .getSequence()
        .evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        tokens.push(token);
        if (tokens.length === length) break;
      }
      await context.dispose();
      await model.dispose();
      return tokens;
    },
    async perplexity(file, windows) {
      const model = await llama.loadModel({ modelPath: file });
      const context = await model.createContext({ contextSize: 512, batchSize: 64, threads: 1 });
      const sequence = context.getSequence();
      const sum = { loss: 0, count: 0 };
      for (const ids of windows) {
        await sequence.clearHistory();
        for (let start = 0; start < ids.length - 1; start += 64) {
          const part = ids.slice(start, Math.min(start + 64, ids.length - 1));
          const asked = part.map((id) => [id, { generateNext: { logits: true } }]);
          const results = await sequence.controlledEvaluate(asked);
          for (const [i, { next }] of results.entries()) {
            let top = -Infinity;
            for (const logit of next.logits.values()) top = Math.max(top, logit);
            let total = 0;
            for (const logit of next.logits.values()) total += Math.exp(logit - top);
            sum.loss += top + Math.log(total) - next.logits.get(ids[start + i + 1]);
            sum.count++;
          }
        }
      }
      await context.dispose();
      await model.dispose();
      return { perplexity: Math.exp(sum.loss / sum.count), tokens: sum.count };
    },
    dispose: () => llama.dispose(),
  };
}

/** Ids of the prompt, and the greedy continuation by our own graph. */
async function ours(folder) {
  const checkpoint = await openCheckpoint(folder);
  const tokenizer = await openTokenizer(folder);
  const { ids } = promptIds(tokenizer, prompt);
  const generator = await openGenerator(checkpoint, { threads: 1 });
  const tokens = [];
  const room = Math.min(count, checkpoint.architecture.maxPositionEmbeddings - ids.length);
  for await (const token of generator.generate(ids, { maxNewTokens: room })) tokens.push(token);
  await generator.close();
  const runner = await openRunner(checkpoint, { threads: 1 });
  let hidden = await runner.embed(tokenBatch([ids]));
  for (let layer = 0; layer < runner.layerCount; layer++) ({ hidden } = await runner.runBlock(layer, hidden));
  const { data } = await runner.head(hidden);
  await runner.close();
  await checkpoint.close();
  return { ids: [...ids], tokens, logits: data.slice(-runner.vocabularySize) };
}

/** The model with pairs of neighbours folded into one. */
function merged(folder, layers, firsts, weights = [0.6, 0.4]) {
  const groups = Array.from({ length: layers }, (_, l) => l).flatMap((l) => {
    if (firsts.includes(l)) return [{ layers: [l, l + 1], weights }];
    return firsts.includes(l - 1) ? [] : [{ layers: [l] }];
  });
  const plan = { version: 1, num_hidden_layers: layers, groups };
  writeFileSync(`${folder}.plan.json`, JSON.stringify(plan));
  layerfold("merge", folder, "--plan", `${folder}.plan.json`, "--out", `${folder}-folded`);
  return `${folder}-folded`;
}

/** The model without one of its layers: the first that its config can do without. */
function dropped(folder, layers) {
  for (const [first, weights] of [
    [0, [1, 0]],
    [1, [1, 0]],
    [layers - 2, [0, 1]],
  ]) {
    try {
      return merged(folder, layers, [first], weights);
    } catch (error) {
      if (!String(error.stderr).includes("CONFIG_CANNOT_EXPRESS")) throw error;
    }
  }
  return undefined;
}

const failures = [];

/** llama.cpp's numbers of the types into which it can quantise a file. */
const fileTypes = { q4_0: 2, q8_0: 7, q4_k_m: 15, q6_k: 18 };

/** How many tokens are the same from the first on. */
function equalTokens(mine, theirs) {
  const first = mine.findIndex((token, i) => token !== theirs[i]);
  return `${first < 0 ? mine.length : first} of ${mine.length}`;
}

async function judgeGreedy(judge, nodeJudge, name, folder) {
  const mine = await ours(folder);
  const cells = [];
  for (const type of ["f16", "f32"]) {
    const file = `${folder}.${type}.gguf`;
    try {
      layerfold("export", folder, "--target", "gguf", "--type", type, "--out", file);
    } catch (error) {
      const reason = String(error.stderr).trim().split("\n")[0];
      if (!reason.includes("GGUF_CANNOT_EXPRESS")) throw error;
      say(
        `| ${name} | refused: ${reason.replace(/^.*?otherwise: /, "").replace(/ \(.*$/, "")} | – | – | – | – |`,
      );
      return;
    }
    const theirs = await judge.ask({ kind: "greedy", file, prompt, count: mine.tokens.length });
    if (theirs.error) throw new Error(`${name}: ${theirs.error}`);
    if (type === "f16") cells.push(mine.ids.join() === theirs.ids.join() ? "equal" : "NOT EQUAL");
    cells.push(equalTokens(mine.tokens, theirs.tokens));
    if (type === "f32") {
      const largest = mine.logits.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
      const off = mine.logits.reduce(
        (most, logit, i) => Math.max(most, Math.abs(logit - theirs.logits[i])),
        0,
      );
      cells.push(`${off.toExponential(1)} of ${largest.toFixed(1)}`);
      if (!(off <= 1e-3 * Math.max(1, largest))) failures.push(`logits of ${name}`);
    }
    if (type === "f16" && nodeJudge)
      cells.push(equalTokens(mine.tokens, await nodeJudge.greedy(file, mine.ids, mine.tokens.length)));
    if (type === "f16" && !nodeJudge) cells.push("–");
  }
  const all = `${mine.tokens.length} of ${mine.tokens.length}`;
  const [cut, , , exact] = cells;
  if (cut !== "equal" || exact !== all) failures.push(name);
  say(`| ${[name, ...cells].join(" | ")} |`);
}

/**
 * Random models wide enough for blocks of 256, with the golden's tokenizer: whether the types of our tensors are those that llama.cpp's own
 * quantiser chooses.
 */
async function judgeTypes(judge, name) {
  const config = JSON.parse(readFileSync(join(scratch, name, "config.json"), "utf8"));
  const wide = {
    ...config,
    ...(config.n_embd
      ? { n_embd: 256, n_inner: 1024, n_layer: 16 }
      : { hidden_size: 256, num_hidden_layers: 16, ffn_hidden_size: config.ffn_hidden_size && 1024 }),
    ...(config.intermediate_size && { intermediate_size: 512 }),
    ...(config.head_dim && { head_dim: 64 }),
    ...(config.num_local_experts && { num_local_experts: 8 }),
  };
  const folder = join(scratch, `${name}-wide`);
  const carryFrom = await openCheckpoint(join(scratch, name));
  await writeCheckpoint(folder, { config: wide, tensors: randomTensors(wide, seededRng(1)), carryFrom });
  await carryFrom.close();
  const file = (label) => `${folder}.${label}.gguf`;
  layerfold("export", folder, "--target", "gguf", "--out", file("f16"));
  const cells = [];
  for (const [type, number] of Object.entries(fileTypes)) {
    layerfold("export", folder, "--target", "gguf", "--type", type, "--out", file("ours"));
    await judge.ask({ kind: "quantize", file: file("f16"), out: file("theirs"), type: number });
    const [ours, theirs] = [await readGguf(file("ours")), await readGguf(file("theirs"))];
    const other = [...theirs.tensors.values()].find(
      (tensor) => ours.tensors.get(tensor.name)?.type !== tensor.type,
    );
    cells.push(other ? `${other.name}: ${ours.tensors.get(other.name)?.type}, not ${other.type}` : "equal");
    if (other) failures.push(`types of ${name} at ${type}`);
    await ours.close();
    await theirs.close();
    rmSync(file("ours"));
    rmSync(`${folder}.ours.manifest.json`, { force: true });
  }
  say(`| ${[name, ...cells].join(" | ")} |`);
}

/** Perplexity of a model's files of several types, by llama.cpp and by us. */
async function judgePerplexity(judge, nodeJudge, { model, text, calibration, windows: most, types: wanted }) {
  const tokenizer = await openTokenizer(model);
  const documents = await readDocuments(text);
  const { sequences } = tokenWindows(documents, tokenizer, {
    window: 512,
    maxTokens: 512 * Number(most),
    beginToken: "never",
  });
  const windows = sequences.map(({ ids }) => [...ids]);
  const at = (name) => join(scratch, `${name}.gguf`);
  const export_ = (name, ...more) => {
    const start = performance.now();
    layerfold("export", model, "--target", "gguf", "--out", at(name), ...more);
    return (performance.now() - start) / 1000;
  };
  say("");
  say(
    `Perplexity of ${basename(model)} on ${windows.length} windows of 512 tokens of ${basename(text)} (no begin token, each window's first token unscored).`,
  );
  say("");
  say("| file | MiB | seconds to write | llama.cpp | layerfold, of the file imported again |");
  say("| --- | --- | --- | --- | --- |");
  const row = async (name, seconds) => {
    const theirs = await (nodeJudge?.perplexity(at(name), windows) ??
      judge.ask({ kind: "perplexity", file: at(name), windows }));
    if (theirs.error) throw new Error(`${name}: ${theirs.error}`);
    const back = join(scratch, "back");
    rmSync(back, { recursive: true, force: true });
    await importGguf(at(name), back);
    const mine = JSON.parse(
      layerfold(
        "eval",
        back,
        "--perplexity",
        `${text}[0:${512 * Number(most)}]`,
        "--window",
        "512",
        "--begin-token",
        "never",
      ),
    );
    say(
      `| ${name} | ${(statSync(at(name)).size / 2 ** 20).toFixed(1)} | ${seconds === undefined ? "–" : seconds.toFixed(0)} | ${theirs.perplexity.toFixed(4)} | ${mine.perplexity.toFixed(4)} |`,
    );
    if (Math.abs(theirs.perplexity / mine.perplexity - 1) > 0.02) failures.push(`perplexity of ${name}`);
  };
  export_("f16");
  for (const type of wanted.split(",")) {
    const number = fileTypes[type];
    await row(type, type === "f16" ? undefined : export_(type, "--type", type));
    // Of q8_0 the bytes are the same.
    if (number === undefined || type === "q8_0") continue;
    const name = `${type}-by-llama.cpp`;
    await judge.ask({ kind: "quantize", file: at("f16"), out: at(name), type: number });
    await row(name);
    if (!calibration) continue;
    const weighed = `${type}-with-importance`;
    await row(
      weighed,
      export_(weighed, "--type", type, "--calibration", calibration, "--calibration-tokens", "4096"),
    );
  }
}

/** Every golden model and foldling, whole and with fewer layers. */
async function judgeFamilies(judge, nodeJudge) {
  say(
    `Tiny random models of every architecture (packages/checkpoint/test/golden/gguf) and foldling; greedy continuation of "${prompt}".`,
  );
  say("");
  say(
    "At f16 llama.cpp rounds activations to float16 as well: where two experts are as good as each other, that decides.",
  );
  say("");
  say(
    "| model | ids of the prompt | equal tokens at f16 | node-llama-cpp, f16 | equal tokens at f32 | largest difference of a logit at f32, of the largest |",
  );
  say("| --- | --- | --- | --- | --- | --- |");
  const golden = join(root, "packages/checkpoint/test/golden/gguf");
  const chosen = readdirSync(golden).filter(
    (file) => file.endsWith(".gguf") && file.includes(flags.only ?? ""),
  );
  for (const name of chosen) {
    const folder = join(scratch, name.replace(".gguf", ""));
    await importGguf(join(golden, name), folder);
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    // llama.cpp attends to everything in Phi-3, as the export says.
    if (config.model_type === "phi3")
      writeFileSync(join(folder, "config.json"), JSON.stringify({ ...config, sliding_window: null }));
    await judgeGreedy(judge, nodeJudge, basename(folder), folder);
    const fold = dropped(folder, config.num_hidden_layers ?? config.n_layer);
    if (fold) await judgeGreedy(judge, nodeJudge, `${basename(folder)}, a layer less`, fold);
  }
  const foldling = join(scratch, "foldling");
  execFileSync("cp", ["-r", join(root, "models/foldling/checkpoint"), foldling]);
  await judgeGreedy(judge, nodeJudge, "foldling", foldling);
  await judgeGreedy(judge, nodeJudge, "foldling, 12 of 16 layers", merged(foldling, 16, [4, 6, 8, 10]));
  const typed = ["llama", "qwen2", "mixtral", "falcon-two-norms", "gpt2", "phi3", "jamba"].filter((name) =>
    chosen.includes(`${name}.gguf`),
  );
  if (typed.length > 0) {
    say("");
    say(
      "Storage types of all tensors of random models of 16 layers and 256 columns, beside what llama.cpp's own quantiser chooses.",
    );
    say("");
    say(`| model | ${Object.keys(fileTypes).join(" | ")} |`);
    say("| --- | --- | --- | --- | --- |");
    for (const name of typed) await judgeTypes(judge, name);
  }
}

try {
  const judge = openJudge();
  const nodeJudge = await openNodeJudge();
  const { version } = await judge.ask({ kind: "version" });
  say("# GGUF files in llama.cpp");
  say("");
  say(
    `\`node tools/check-llama-cpp.mjs\`: llama-cpp-python ${version}${nodeJudge ? `, node-llama-cpp ${nodeJudge.version}` : ""}, Node ${process.version}, ${cpus()[0]?.model}.`,
  );
  say("");
  if (!flags["perplexity-only"]) await judgeFamilies(judge, nodeJudge);
  if (flags.model) {
    const { model } = flags;
    const copy = join(scratch, basename(model));
    execFileSync("cp", ["-r", model, copy]);
    if (!flags["perplexity-only"]) await judgeGreedy(judge, nodeJudge, basename(model), copy);
    if (flags.text) await judgePerplexity(judge, nodeJudge, { ...flags, model: copy });
  }
  judge.close();
  await nodeJudge?.dispose();
  if (flags.write) writeFileSync(flags.write, `${lines.join("\n")}\n`);
  if (failures.length > 0) console.log(`FAILED: ${failures.join(", ")}`);
  process.exitCode = failures.length > 0 ? 1 : 0;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
