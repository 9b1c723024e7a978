import { createHash } from "node:crypto";
import { dirname } from "node:path";
import {
  captureActivations,
  onnxSource,
  parsePooling,
  poolingName,
  saveActivations,
} from "@layerfold/capture";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import {
  type ActivationSource,
  type Activations,
  LayerfoldError,
  type TokenBatch,
  tokenBatch,
} from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import { type Decoder, openDecoder } from "@layerfold/graph";
import {
  type CalibratedModel,
  type CalibrationOptions,
  readCalibration,
} from "../calibration/read-calibration.js";
import { eachBatch, openModelCheckpoint } from "../inputs/open-model.js";
import { readTokenRows } from "../inputs/token-rows.js";
import { dataFact, fileFingerprint, type Manifest, modelName, writeManifest } from "../manifest.js";
import { withExecution } from "../memory.js";
import { inputPaths } from "../outputs.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import type { TaskRunner } from "../task-runner.js";
import { withTasks } from "../work-folder.js";
import { modelOf } from "./given-inputs.js";
import { calibratedModel } from "./open-workbench.js";

export interface CaptureRequest extends CalibrationOptions {
  /** Checkpoint folder, `hf:org/name`, or an ONNX decoder. */
  readonly model: string;
  readonly calibration?: string | undefined;
  /** Token ids instead: safetensors, see `readTokenRows`. */
  readonly input?: string | undefined;
  /** ONNX only: name of the value that block l leaves in the residual stream, `{layer}` standing for l. */
  readonly tap?: string | undefined;
  /** Folder of the tokenizer; default: the model's. */
  readonly tokenizer?: string | undefined;
  /** As `parsePooling` reads it; default `last`. */
  readonly pooling?: string | undefined;
  /** Folder to write; absent: nothing is. */
  readonly out?: string | undefined;
  readonly force?: boolean | undefined;
}

/**
 * Runs a text through a model and keeps what every layer leaves in the residual stream.
 * @throws CALIBRATION_MISSING, POOLING_UNKNOWN, and what reading the model and the text throws
 */
export async function capture(request: CaptureRequest, options: RunOptions | Run = {}): Promise<Activations> {
  const run = asRun(options);
  run.settings.assertUsed();
  const pooling = parsePooling(request.pooling ?? "last");
  const { calibration, input, tokenizer, out, force } = request;
  const inputs = inputPaths({ models: [request.model], texts: [calibration], files: [input, tokenizer] });
  if (out !== undefined) await checkOutputFolder(out, { force, inputs });
  if ((calibration === undefined) === (input === undefined)) {
    throw new LayerfoldError("CALIBRATION_MISSING", "nothing to run through the model", {
      wanted: "either --calibration FILE or --input FILE",
    });
  }
  const target = request.model.endsWith(".onnx")
    ? await onnxTarget(request.model, request.tap, run)
    : await checkpointTarget(request.model, run);
  try {
    const { batches, sequences, data } =
      input === undefined
        ? await withTasks(undefined, run, (tasks) => cutTokens(calibration!, target, request, tasks))
        : await givenTokens(input, target);
    const totalTokens = sequences.reduce((sum, ids) => sum + ids.length, 0);
    const source = await target.source();
    const activations = await captureActivations(source, batches, { pooling, totalTokens }, target.run.ctx);
    if (out === undefined) return activations;
    const model = await target.fingerprint();
    await saveActivations(
      out,
      activations,
      { model, calibration: tokensFingerprint(sequences), pooling: poolingName(pooling) },
      { force },
      run.ctx.signal,
    );
    const { out: _, force: __, model: ___, ...given } = request;
    await writeManifest(
      out,
      {
        command: "capture",
        arguments: given,
        model: { name: modelName(request.model), sha256: model },
        data,
      },
      run,
    );
    return activations;
  } finally {
    await target.close();
  }
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
  target: CaptureTarget,
  request: CaptureRequest,
  tasks: TaskRunner,
): Promise<Samples> {
  const { checkpoint, run, maxPositionEmbeddings: context } = target;
  const tokenizer = await openTokenizer(request.tokenizer ?? target.folder);
  const model: CalibratedModel = checkpoint
    ? calibratedModel({ checkpoint, tokenizer, model: await modelOf(checkpoint, run) }, tasks, run)
    : { tokenizer, context };
  const { sequences, facts } = await readCalibration(texts, model, request, run);
  return {
    batches: eachBatch(sequences),
    sequences: sequences.map(({ ids }) => ids),
    data: { calibration: facts },
  };
}

/** SHA-256 of token sequences, hex: of what a capture saw, whatever text it was cut or made from. */
function tokensFingerprint(sequences: readonly ArrayLike<number>[]): string {
  const hash = createHash("sha256");
  for (const ids of sequences) hash.update(Int32Array.of(ids.length, ...Array.from(ids)));
  return hash.digest("hex");
}

/** What a capture needs to know of a model. */
interface CaptureTarget {
  /** Opened when the text is there: a model that makes up its own has to be in memory for that already. */
  source(): Promise<ActivationSource>;
  /** That knows how the model runs. */
  readonly run: Run;
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
  const chosen = withExecution(run, checkpoint);
  let opened: Promise<Decoder> | undefined;
  return {
    source: () => (opened ??= openDecoder(checkpoint, { execution: chosen.execution, ...run.place })),
    run: chosen,
    checkpoint,
    folder: checkpoint.directory,
    ...checkpoint.architecture,
    fingerprint: () => checkpoint.fingerprint(),
    async close() {
      await (await opened)?.close();
      await checkpoint.close();
    },
  };
}

/** An ONNX decoder does not say how many tokens it knows and takes; it refuses by itself what it cannot. */
async function onnxTarget(file: string, tap: string | undefined, run: Run): Promise<CaptureTarget> {
  const source = await onnxSource(file, {
    tap: tap === undefined ? undefined : { block: tap },
    ...run.place,
  });
  return {
    source: async () => source,
    run,
    folder: dirname(file),
    vocabularySize: Number.POSITIVE_INFINITY,
    maxPositionEmbeddings: Number.POSITIVE_INFINITY,
    fingerprint: () => fileFingerprint(file),
    close: () => source.close(),
  };
}
