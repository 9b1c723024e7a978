import { writeSafetensors } from "@layerfold/checkpoint";
import {
  type ActivationSource,
  contiguousData,
  encodeFloats,
  firstOf,
  LayerfoldError,
  type RunContext,
  type TokenBatch,
  throwIfAborted,
  tokenBatch,
} from "@layerfold/core";
import {
  checkOutputFiles,
  dataFact,
  inputPaths,
  modelFact,
  modelFolder,
  openEvaluated,
  readTokenRows,
  withExecution,
  writeOutputFiles,
} from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, memoryOption, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function traceCommand(signal: AbortSignal): Command {
  return withDevice(
    command(
      "trace",
      "Write the residual stream after every block, and the logits, for given token ids; of a quantised model as its bits have it.",
      "layerfold trace models/foldling/checkpoint --input ids.safetensors --out trace.safetensors",
    ),
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption(
      "--input <file>",
      "safetensors with input_ids and attention_mask, int64 [batch, sequence], right-padded",
    )
    .requiredOption(
      "--out <file>",
      "safetensors to write: resid.0 … resid.L [batch, sequence, hidden] and logits, float32",
    )
    .addOption(memoryOption())
    .action(async (model: string, options: CommonOptions & { input: string; out: string }) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      await checkOutputFiles([options.out], {
        command: "trace",
        inputs: inputPaths({ models: [model], files: [options.input] }),
      });
      const {
        checkpoint,
        model: decoder,
        close,
      } = await openEvaluated(
        await modelFolder(model, run),
        (opened) => withExecution(run, opened).execution,
        run.ctx,
        run.place,
      );
      try {
        const { hiddenSize, vocabularySize } = checkpoint.architecture;
        const { rows, batchSize, sequenceLength } = await readTokenRows(
          options.input,
          checkpoint.architecture,
        );
        throwIfAborted(signal);
        const batch = tokenBatch(rows);
        const residuals = await wholeStreams(decoder, batch, run.ctx);
        const logits = await firstOf(decoder.logits([batch], run.ctx));
        const longest = Math.max(...rows.map((row) => row.length));
        for (const [depth, data] of residuals.entries()) {
          const where = depth === 0 ? "the embedding" : `after layer ${depth - 1}`;
          checkValues(data, where, rows, longest, hiddenSize);
        }
        checkValues(contiguousData(logits), "the logits", rows, longest, vocabularySize);
        const tensors = [
          ...residuals.map((data, l) => [`resid.${l}`, data, hiddenSize] as const),
          ["logits", contiguousData(logits), vocabularySize] as const,
        ];
        const sources = tensors.map(([name, data, width]) => ({
          name,
          dtype: "float32" as const,
          shape: [batchSize, sequenceLength, width],
          bytes: () => encodeFloats(spread(data, rows, longest, sequenceLength, width), "float32"),
        }));
        const facts = {
          layers: residuals.length - 1,
          batch: batchSize,
          sequence: sequenceLength,
          out: options.out,
        };
        await writeOutputFiles(
          new Map([[options.out, (file) => writeSafetensors(file, sources)]]),
          {
            command: "trace",
            arguments: options,
            model: await modelFact(model, checkpoint),
            data: { input: await dataFact(options.input) },
          },
          run,
        );
        run.terminal.result(
          facts,
          `${facts.layers} layers, [${batchSize}, ${sequenceLength}] tokens → ${options.out}`,
        );
      } finally {
        await close();
      }
    });
}

/** The streams of all rows, [rows · longest, hidden] each: a model that runs block by block hands them out a few rows at a time. */
async function wholeStreams(
  decoder: ActivationSource,
  batch: TokenBatch,
  ctx: RunContext,
): Promise<Float32Array[]> {
  const { layerCount, hiddenSize } = decoder;
  const size = batch.batchSize * batch.sequenceLength * hiddenSize;
  const whole = Array.from({ length: layerCount + 1 }, () => new Float32Array(size));
  let at = 0;
  for await (const { residuals } of decoder.capture([batch], ctx)) {
    residuals.forEach((stream, depth) => {
      whole[depth].set(stream, at);
    });
    at += residuals[0].length;
  }
  return whole;
}

/** Refuses values [rows, longest, width] that are not finite at a token. @throws ACTIVATION_NOT_FINITE naming the first row and token */
function checkValues(
  data: Float32Array,
  where: string,
  rows: readonly number[][],
  longest: number,
  width: number,
) {
  for (const [row, { length }] of rows.entries()) {
    const start = row * longest * width;
    const at = data.subarray(start, start + length * width).findIndex((value) => !Number.isFinite(value));
    if (at < 0) continue;
    throw new LayerfoldError("ACTIVATION_NOT_FINITE", "the model gave a value that is not a finite number", {
      got: `${data[start + at]}`,
      where: `${where}, row ${row}, token ${Math.floor(at / width)}`,
    });
  }
}

/** Lays [rows, longest, width] out as [rows, sequenceLength, width] with zeros wherever a row has no token. */
function spread(
  data: Float32Array,
  rows: readonly number[][],
  longest: number,
  sequenceLength: number,
  width: number,
) {
  const out = new Float32Array(rows.length * sequenceLength * width);
  rows.forEach((row, b) => {
    const from = b * longest * width;
    out.set(data.subarray(from, from + row.length * width), b * sequenceLength * width);
  });
  return out;
}
