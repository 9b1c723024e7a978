import { openCheckpoint, openSafetensors, writeSafetensors } from "@layerfold/checkpoint";
import { contiguousData, encodeFloats, LayerfoldError, throwIfAborted, tokenBatch } from "@layerfold/core";
import { openDecoder } from "@layerfold/graph";
import type { Command } from "commander";
import { type CommonOptions, command } from "../command.js";
import { createRun } from "../run.js";

export function traceCommand(signal: AbortSignal): Command {
  return command(
    "trace",
    "Write the residual stream after every block, and the logits, for given token ids.",
    "layerfold trace models/foldling/checkpoint --input ids.safetensors --out trace.safetensors",
  )
    .argument("<model>", "checkpoint folder")
    .requiredOption(
      "--input <file>",
      "safetensors with input_ids and attention_mask, int64 [batch, sequence], right-padded",
    )
    .requiredOption(
      "--out <file>",
      "safetensors to write: resid.0 … resid.L [batch, sequence, hidden] and logits, float32",
    )
    .action(async (model: string, options: CommonOptions & { input: string; out: string }) => {
      const run = createRun(options, signal);
      run.settings.assertUsed();
      const { rows, batchSize, sequenceLength } = await readTokenRows(options.input);
      const checkpoint = await openCheckpoint(model, { report: run.ctx.report });
      const decoder = await openDecoder(checkpoint);
      try {
        const { hiddenSize, vocabularySize, maxPositionEmbeddings } = checkpoint.architecture;
        for (const row of rows) {
          const wrong = row.find((id) => id < 0 || id >= vocabularySize);
          if (wrong === undefined && row.length <= maxPositionEmbeddings) continue;
          throw new LayerfoldError("INPUT_IDS", "the model cannot take these token ids", {
            wanted: `ids below ${vocabularySize}, at most ${maxPositionEmbeddings} of them`,
            got: wrong === undefined ? `${row.length} tokens` : `id ${wrong}`,
            where: options.input,
          });
        }
        throwIfAborted(signal);
        const { residuals, logits } = await decoder.run(tokenBatch(rows), { residuals: true, logits: true });
        const longest = Math.max(...rows.map((row) => row.length));
        const tensors = [
          ...residuals!.map((data, l) => [`resid.${l}`, data, hiddenSize] as const),
          ["logits", contiguousData(logits!), vocabularySize] as const,
        ];
        await writeSafetensors(
          options.out,
          tensors.map(([name, data, width]) => ({
            name,
            dtype: "float32" as const,
            shape: [batchSize, sequenceLength, width],
            bytes: () => encodeFloats(spread(data, rows, longest, sequenceLength, width), "float32"),
          })),
        );
        const facts = {
          layers: residuals!.length - 1,
          batch: batchSize,
          sequence: sequenceLength,
          out: options.out,
        };
        run.terminal.result(
          facts,
          `${facts.layers} layers, [${batchSize}, ${sequenceLength}] tokens → ${options.out}`,
        );
      } finally {
        await decoder.close();
        await checkpoint.close();
      }
    });
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

async function readTokenRows(file: string) {
  const input = await openSafetensors(file);
  try {
    const int64 = async (name: string) => {
      const stored = input.tensors.get(name);
      if (stored?.dtype !== "int64" || stored.shape.length !== 2) {
        throw new LayerfoldError("INPUT_IDS", `cannot read ${name}`, {
          wanted: "int64 [batch, sequence]",
          got: stored ? `${stored.dtype} [${stored.shape.join(", ")}]` : "no such tensor",
          where: file,
        });
      }
      const bytes = await input.readBytes(name);
      return { shape: stored.shape, values: new BigInt64Array(bytes.slice().buffer) };
    };
    const ids = await int64("input_ids");
    const mask = input.tensors.has("attention_mask") ? await int64("attention_mask") : undefined;
    const [batchSize, sequenceLength] = ids.shape;
    if (mask && (mask.shape[0] !== batchSize || mask.shape[1] !== sequenceLength)) {
      throw new LayerfoldError("INPUT_IDS", "attention_mask and input_ids differ in shape", { where: file });
    }
    const rows = Array.from({ length: batchSize }, (_, b) => {
      const at = b * sequenceLength;
      const real = mask ? Array.from(mask.values.subarray(at, at + sequenceLength), Number) : undefined;
      const length = real ? real.lastIndexOf(1) + 1 : sequenceLength;
      if (length === 0 || real?.slice(0, length).includes(0)) {
        throw new LayerfoldError("INPUT_IDS", "a row must start with real tokens, padding to the right", {
          where: `${file}, attention_mask, row ${b}`,
        });
      }
      return Array.from(ids.values.subarray(at, at + length), Number);
    });
    return { rows, batchSize, sequenceLength };
  } finally {
    await input.close();
  }
}
