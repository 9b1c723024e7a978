import {
  type Checkpoint,
  type GgufFileType,
  openTokenizer,
  type WrittenGguf,
  writeGguf,
} from "@layerfold/checkpoint";
import { openRunner } from "@layerfold/graph";
import { dequantizedCheckpoint, inputSquares, isQuantized } from "@layerfold/quantize";
import {
  type Calibration,
  type CalibrationOptions,
  readCalibration,
} from "../calibration/read-calibration.js";
import { selfText } from "../calibration/self-text.js";
import { eachBatch, openModelCheckpoint, tokensPerTappedBatch } from "../inputs/open-model.js";
import { modelFact, modelName } from "../manifest.js";
import { checkOutputFiles, writeOutputFiles } from "../output-files.js";
import { inputPaths } from "../outputs.js";
import { asRun, type Run, type RunOptions } from "../run.js";

export interface ExportGgufRequest extends CalibrationOptions {
  /** Checkpoint folder, or `hf:org/name`; of a quantised one, weights are dequantised as they are read. */
  readonly model: string;
  /** How weights are stored; default f16. */
  readonly type?: GgufFileType | undefined;
  /** Text by whose activations quantised types weigh their errors, as `readCalibration` reads it. */
  readonly calibration?: string | undefined;
  /** The file to write; one that this wrote and nobody changed since is replaced. */
  readonly out: string;
}

/**
 * Writes a model as a GGUF file for llama.cpp, with a manifest beside it.
 * @throws what `checkOutputFiles`, reading the model and the texts, and `writeGguf` throw
 */
export async function exportGguf(
  request: ExportGgufRequest,
  given: RunOptions | Run = {},
): Promise<WrittenGguf> {
  const run = asRun(given);
  const { model: path, type, calibration: texts, out, ...options } = request;
  const inputs = inputPaths({ models: [path], texts: [texts] });
  await checkOutputFiles([out], { command: "export", inputs });
  const checkpoint = await openModelCheckpoint(path, run, { packed: true });
  try {
    const calibration = texts === undefined ? undefined : await read(texts, checkpoint, options, run);
    const importance = calibration && (await importanceOf(checkpoint, calibration, run));
    const facts = {
      command: "export",
      arguments: { target: "gguf", ...request },
      model: await modelFact(path, checkpoint),
      ...(calibration && { data: { calibration: calibration.facts } }),
    };
    let written: WrittenGguf | undefined;
    const write = async (file: string) => {
      written = await writeGguf(
        denseView(checkpoint, run),
        file,
        { type, importance, name: modelName(path) },
        run.ctx,
      );
    };
    await writeOutputFiles(new Map([[out, write]]), facts, run);
    return { ...written!, file: out };
  } finally {
    await checkpoint.close();
  }
}

function denseView(checkpoint: Checkpoint, { ctx }: Run): Checkpoint {
  if (!isQuantized(checkpoint)) return checkpoint;
  ctx.report?.({
    type: "status",
    message: `${checkpoint.directory} is quantised: its weights are dequantised as they are read, and stored anew`,
  });
  return dequantizedCheckpoint(checkpoint, ctx.report);
}

async function read(
  texts: string,
  checkpoint: Checkpoint,
  options: CalibrationOptions,
  run: Run,
): Promise<Calibration> {
  const tokenizer = await openTokenizer(checkpoint.directory);
  const { place, ctx } = run;
  const model = {
    tokenizer,
    context: checkpoint.architecture.maxPositionEmbeddings,
    selfText: (wanted: { tokens: number; window: number; temperature: number }) =>
      selfText(checkpoint, tokenizer, { ...wanted, place }, ctx),
  };
  return readCalibration(texts, model, options, run);
}

async function importanceOf(checkpoint: Checkpoint, { sequences }: Calibration, run: Run) {
  const dense = isQuantized(checkpoint) ? dequantizedCheckpoint(checkpoint, run.ctx.report) : checkpoint;
  const runner = await openRunner(dense, run.place);
  try {
    const batches = eachBatch(sequences, tokensPerTappedBatch(checkpoint.architecture));
    return await inputSquares(dense, runner, batches, run.ctx);
  } finally {
    await runner.close();
  }
}
