import { createHash } from "node:crypto";
import { dirname } from "node:path";
import {
  captureActivations,
  checkpointSource,
  onnxSource,
  parsePooling,
  poolingName,
  saveActivations,
} from "@layerfold/capture";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import { type ActivationSource, LayerfoldError, type TokenBatch, tokenBatch } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import { type Command, Option } from "commander";
import { readCalibration } from "../calibration.js";
import { type CommonOptions, command } from "../command.js";
import { calibrationBatches, openModelCheckpoint } from "../inputs.js";
import { dataFact, fileFingerprint, type Manifest, modelName, writeManifest } from "../manifest.js";
import { inputPaths } from "../outputs.js";
import { createRun, type Run } from "../run.js";
import { readTokenRows } from "../token-rows.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface CaptureOptions extends CommonOptions, CalibrationFlags {
  readonly input?: string;
  readonly tap?: string;
  readonly tokenizer?: string;
  readonly pooling: string;
  readonly out: string;
  readonly force?: boolean;
}

export function captureCommand(signal: AbortSignal): Command {
  return withCalibration(
    command(
      "capture",
      "Run a calibration text through the model and keep what every layer leaves in the residual stream.",
      "layerfold capture models/foldling/checkpoint --calibration models/foldling/data/calibration.jsonl --pooling last --out activations",
    ),
    "text to run",
  )
    .argument("<model>", "checkpoint folder, hf:org/name, or an ONNX decoder (.onnx)")
    .option("--input <file>", "token ids instead of a text: safetensors as for `layerfold trace`")
    .addOption(
      new Option(
        "--pooling <how>",
        "which tokens become samples: last (one per window or document), mean, every:k, all",
      ).default("last"),
    )
    .option(
      "--tap <name>",
      "ONNX only: the value that block l leaves in the residual stream, {layer} standing for l",
    )
    .option("--tokenizer <folder>", "where the tokenizer is (default: the model's folder)")
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "folder to write")
    .action(async (modelPath: string, options: CaptureOptions) => {
      const run = createRun(options, signal);
      run.settings.assertUsed();
      const pooling = parsePooling(options.pooling);
      const { calibration, input, tokenizer, force } = options;
      const inputs = inputPaths({ models: [modelPath], texts: [calibration], files: [input, tokenizer] });
      await checkOutputFolder(options.out, { force, inputs });
      const file = options.calibration ?? options.input;
      if (file === undefined || (options.calibration && options.input)) {
        throw new LayerfoldError("CALIBRATION_MISSING", "nothing to run through the model", {
          wanted: "either --calibration FILE or --input FILE",
        });
      }
      const target = modelPath.endsWith(".onnx")
        ? await onnxTarget(modelPath, options.tap)
        : await checkpointTarget(modelPath, run);
      try {
        const { batches, sequences, data } = options.input
          ? await givenTokens(file, target)
          : await cutTokens(file, target, options, run);
        const totalTokens = sequences.reduce((sum, ids) => sum + ids.length, 0);
        const activations = await captureActivations(
          target.source,
          batches,
          { pooling, totalTokens },
          run.ctx,
        );
        const facts = {
          layers: activations.layers.length,
          samples: activations.layers[0].shape[0],
          hidden_size: activations.layers[0].shape[1],
          tokens: activations.statistics.tokenCount,
        };
        const model = await target.fingerprint();
        await saveActivations(
          options.out,
          activations,
          {
            model,
            calibration: tokensFingerprint(sequences),
            pooling: poolingName(pooling),
          },
          { force },
          signal,
        );
        await writeManifest(
          options.out,
          {
            command: "capture",
            arguments: options,
            model: { name: modelName(modelPath), sha256: model },
            data,
          },
          run,
        );
        run.terminal.result(
          facts,
          `${facts.layers} layers × ${facts.samples} samples × ${facts.hidden_size}, from ${facts.tokens} tokens → ${options.out}`,
        );
      } finally {
        await target.close();
      }
    });
}

/** What is run through the model: in batches, the tokens alone, and where they come from. */
interface Samples {
  readonly batches: Iterable<TokenBatch> | AsyncIterable<TokenBatch>;
  readonly sequences: readonly ArrayLike<number>[];
  readonly data: Manifest["data"];
}

async function givenTokens(file: string, target: CaptureTarget): Promise<Samples> {
  const { rows } = await readTokenRows(file, target);
  return { batches: [tokenBatch(rows)], sequences: rows, data: { input: await dataFact(file) } };
}

async function cutTokens(
  texts: string,
  { checkpoint, maxPositionEmbeddings: context, folder }: CaptureTarget,
  options: CaptureOptions,
  run: Run,
): Promise<Samples> {
  const tokenizer = await openTokenizer(options.tokenizer ?? folder);
  const calibration = await readCalibration(texts, { checkpoint, context, tokenizer }, options, run);
  const sequences = calibration.sequences.map(({ ids }) => ids);
  return { batches: calibrationBatches(calibration), sequences, data: { calibration: calibration.facts } };
}

/** SHA-256 of token sequences, hex: of what a capture saw, whatever text it was cut or made from. */
function tokensFingerprint(sequences: readonly ArrayLike<number>[]): string {
  const hash = createHash("sha256");
  for (const ids of sequences) hash.update(Int32Array.of(ids.length, ...Array.from(ids)));
  return hash.digest("hex");
}

/** What a capture needs to know of a model. */
interface CaptureTarget {
  readonly source: ActivationSource;
  /** Absent for an ONNX decoder. */
  readonly checkpoint?: Checkpoint;
  /** Where its tokenizer is. */
  readonly folder: string;
  readonly vocabularySize: number;
  readonly maxPositionEmbeddings: number;
  fingerprint(): Promise<string>;
  close(): Promise<void>;
}

async function checkpointTarget(model: string, run: Run): Promise<CaptureTarget> {
  const checkpoint = await openModelCheckpoint(model, run);
  const source = checkpointSource(checkpoint);
  return {
    source,
    checkpoint,
    folder: checkpoint.directory,
    ...checkpoint.architecture,
    fingerprint: () => checkpoint.fingerprint(),
    async close() {
      await source.close();
      await checkpoint.close();
    },
  };
}

/** An ONNX decoder does not say how many tokens it knows and takes; it refuses by itself what it cannot. */
async function onnxTarget(file: string, tap: string | undefined): Promise<CaptureTarget> {
  const source = await onnxSource(file, { tap: tap === undefined ? undefined : { block: tap } });
  return {
    source,
    folder: dirname(file),
    vocabularySize: Number.POSITIVE_INFINITY,
    maxPositionEmbeddings: Number.POSITIVE_INFINITY,
    fingerprint: () => fileFingerprint(file),
    close: () => source.close(),
  };
}
