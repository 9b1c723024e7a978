// Peak memory of folding a model of Llama-3-8B's shape: two layers (hidden 4096, 32 heads on 8 key/value heads, intermediate 14336)
// of random bfloat16 weights become one, merely dropped, and with repairs on 2,048 random tokens (or `--tokens`); component-fold with its heads, which stay
// as they are in a group that holds layer 0, so that there a third layer stands before the two. What a repair says it is at is timed,
// beside the machine's rate of float32 products in the same process. Every case runs in a process of its own. The vocabulary is cut to
// 4,096, since embeddings are not what is measured. A checkpoint takes 1.4 GB, a folded one 1 GB, in the temporary folder.
// Usage: node benchmarks/component-fold-wide.mjs [drop|reconstruct|component-fold|linear|… …] [--tokens=N]   (after npm run setup)
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const built = (name) => import(new URL(`../packages/${name}/dist/index.js`, import.meta.url));
const script = fileURLToPath(import.meta.url);
const gib = 2 ** 30;
// Beyond 7,168 tokens component-fold chooses neurons by their own Gram, below by the tokens'.
const flag = process.argv.find((argument) => argument.startsWith("--tokens="));
const tokens = Number(flag?.slice(flag.indexOf("=") + 1) ?? 2048);

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 4096,
  intermediate_size: 14336,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  num_hidden_layers: 3,
  vocab_size: 4096,
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  dtype: "bfloat16",
};

/** A million normal draws, again and again from another start, so that 1.5 billion weights take seconds. */
async function write(directory) {
  const { encodeFloats, elementCount } = await built("core");
  const { architectureOf, writeCheckpoint } = await built("checkpoint");
  const { seededRng } = await built("linalg");
  const rng = seededRng(1);
  const draws = Float32Array.from({ length: 2 ** 20 + 1 }, () => rng.normal() / 64);
  const { globals, blocks } = architectureOf(config);
  const wanted = [
    ...globals,
    ...blocks.flatMap(({ tensors, shapes }) => [...tensors].map(([role, name]) => [name, shapes.get(role)])),
  ];
  const tensors = wanted.map(([name, shape]) => ({
    name,
    dtype: "bfloat16",
    shape,
    bytes: () => {
      const norm = shape.length === 1;
      const pattern = encodeFloats(norm ? draws.map((x) => 1 + x) : draws, "bfloat16");
      const bytes = new Uint8Array(2 * elementCount(shape));
      for (let at = -2 * rng.integer(draws.length); at < bytes.length; at += pattern.length) {
        bytes.set(
          pattern.subarray(Math.max(0, -at), Math.min(pattern.length, bytes.length - at)),
          Math.max(0, at),
        );
      }
      return bytes;
    },
  }));
  await writeCheckpoint(directory, { config, tensors });
}

const seconds = () => performance.now() / 1000;
/** Of all threads. On a machine that others use too, what a step takes of it tells more than how long it waits. */
const processorSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Operations of a float32 product of 4,096 rows and columns a processor second, the better of two. */
async function rateOf(engine) {
  const { tensor } = await built("core");
  const size = 4096;
  const matrix = tensor(
    Float32Array.from({ length: size * size }, (_, i) => (i % 13) - 6),
    [size, size],
  );
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 2; i++) {
    const startedAt = processorSeconds();
    await engine.matmul(matrix, matrix);
    best = Math.min(best, processorSeconds() - startedAt);
  }
  return (2 * size ** 3) / best;
}

/** An engine that counts operations, and times what a repair says it is at beside the machine's rate right before. */
function timed(engine) {
  let step;
  const stop = () => {
    if (!step) return;
    const { message, machine, operations, startedAt, processorAt } = step;
    const processor = processorSeconds() - processorAt;
    const rate = machine
      ? `, ${(operations / processor / 1e9).toFixed(0)} GFLOP a processor second, ` +
        `${(operations / processor / machine).toFixed(2)} of float32 products' ${(machine / 1e9).toFixed(0)}`
      : "";
    console.log(
      `  ${message}: ${(seconds() - startedAt).toFixed(1)} s, ${processor.toFixed(1)} processor seconds${rate}`,
    );
    step = undefined;
  };
  return {
    report(event) {
      if (event.type === "diagnostic") console.log(`  ${event.code}: ${event.message}`);
      if (event.type === "progress" && event.stage === "repair") stop();
      if (event.type !== "status") return;
      stop();
      step = {
        message: event.message,
        startedAt: seconds(),
        processorAt: processorSeconds(),
        operations: 0,
      };
    },
    engine: {
      ...engine,
      async matmul(a, b, options) {
        if (step && step.machine === undefined) {
          const current = step;
          const [asked, processorAsked] = [seconds(), processorSeconds()];
          current.machine = 0;
          current.machine = await rateOf(engine);
          current.startedAt += seconds() - asked;
          current.processorAt += processorSeconds() - processorAsked;
        }
        if (step) step.operations += 2 * a.shape[0] * a.shape[1] * b.shape[options?.transposeB ? 0 : 1];
        return engine.matmul(a, b, options);
      },
    },
  };
}

async function fold(directory, out, name) {
  const { tokenBatch, dropPlan } = await built("core");
  const { openCheckpoint } = await built("checkpoint");
  const { openRunner } = await built("graph");
  const { seededRng } = await built("linalg");
  const { onnxEngine } = await built("onnx");
  const merge = await built("merge");
  const checkpoint = await openCheckpoint(directory);
  const runner = await openRunner(checkpoint);
  const rng = seededRng(2);
  const batches = Array.from({ length: tokens / 256 }, () =>
    tokenBatch([Int32Array.from({ length: 256 }, () => rng.integer(config.vocab_size))]),
  );
  const factory = Object.values(merge).find((value) => value?.kind === "repair" && value.id === name);
  const result = await merge.foldCheckpoint(
    checkpoint,
    dropPlan(3, [0, 1]),
    {
      strategy: merge.drop(),
      repair: factory?.(),
      runner,
      calibration: async function* () {
        yield* batches;
      },
      out,
    },
    { rng: seededRng(0), ...timed(onnxEngine()) },
  );
  await runner.close();
  await checkpoint.close();
  return result.errors;
}

if (process.argv[2] === "--case") {
  const [, , , directory, out, name] = process.argv;
  const startedAt = performance.now();
  const errors = await fold(directory, out, name);
  const peak = process.resourceUsage().maxRSS * 1024;
  console.log(
    `${name}: peak ${(peak / gib).toFixed(2)} GiB, ${((performance.now() - startedAt) / 1000).toFixed(0)} s` +
      errors
        .map(({ before, after }) => `, error ${before.toPrecision(4)} → ${after.toPrecision(4)}`)
        .join(""),
  );
} else {
  const named = process.argv.slice(2).filter((argument) => argument !== flag);
  const cases = named.length > 0 ? named : ["drop", "reconstruct", "component-fold"];
  const scratch = mkdtempSync(join(tmpdir(), "layerfold-8b-"));
  try {
    await write(join(scratch, "dense"));
    for (const name of cases) {
      const out = join(scratch, name);
      const { status, signal } = spawnSync(
        process.execPath,
        [script, "--case", join(scratch, "dense"), out, name, ...(flag ? [flag] : [])],
        {
          stdio: "inherit",
        },
      );
      if (status !== 0) console.log(`${name}: failed (${signal ?? `exit ${status}`})`);
      rmSync(out, { recursive: true, force: true });
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
