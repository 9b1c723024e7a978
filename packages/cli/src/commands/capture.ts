import {
  captureActivations,
  checkpointSource,
  parsePooling,
  poolingName,
  saveActivations,
} from "@layerfold/capture";
import { openCheckpoint, openTokenizer } from "@layerfold/checkpoint";
import { LayerfoldError, tokenBatch } from "@layerfold/core";
import { type Command, Option } from "commander";
import { type CommonOptions, command, integer } from "../command.js";
import { calibrationBatches, readSequences } from "../inputs.js";
import { fileFingerprint } from "../manifest.js";
import { refuseOccupied } from "../outputs.js";
import { createRun } from "../run.js";
import { readTokenRows } from "../token-rows.js";

interface CaptureOptions extends CommonOptions {
  readonly calibration?: string;
  readonly input?: string;
  readonly pooling: string;
  readonly window: number;
  readonly maxTokens?: number;
  readonly out: string;
  readonly force?: boolean;
}

export function captureCommand(signal: AbortSignal): Command {
  return command(
    "capture",
    "Run a calibration text through the model and keep what every layer leaves in the residual stream.",
    "layerfold capture models/foldling/checkpoint --calibration models/foldling/data/calibration.jsonl --pooling last --out activations",
  )
    .argument("<model>", "checkpoint folder")
    .option("--calibration <file>", ".txt (one stream) or .jsonl (one document a line)")
    .option("--input <file>", "token ids instead of a text: safetensors as for `layerfold trace`")
    .addOption(
      new Option(
        "--pooling <how>",
        "which tokens become samples: last (one per window or document), mean, every:k, all",
      ).default("last"),
    )
    .option("--window <tokens>", "longest token sequence", integer(2), 512)
    .option("--max-tokens <tokens>", "use only so many tokens, spread evenly over the text", integer(2))
    .option("--force", "replace a folder that is not empty")
    .requiredOption("--out <folder>", "folder to write")
    .action(async (modelPath: string, options: CaptureOptions) => {
      const run = createRun(options, signal);
      run.settings.assertUsed();
      const pooling = parsePooling(options.pooling);
      await refuseOccupied(options.out, options.force);
      const file = options.calibration ?? options.input;
      if (file === undefined || (options.calibration && options.input)) {
        throw new LayerfoldError("CALIBRATION_MISSING", "nothing to run through the model", {
          wanted: "either --calibration FILE or --input FILE",
        });
      }
      const checkpoint = await openCheckpoint(await run.modelFolder(modelPath), { report: run.ctx.report });
      const source = checkpointSource(checkpoint);
      try {
        const batches = options.input
          ? [tokenBatch((await readTokenRows(options.input, checkpoint.architecture)).rows)]
          : await textBatches(file);
        const activations = await captureActivations(source, batches, { pooling }, run.ctx);
        const facts = {
          layers: activations.layers.length,
          samples: activations.layers[0].shape[0],
          hidden_size: activations.layers[0].shape[1],
          tokens: activations.statistics.tokenCount,
        };
        await saveActivations(
          options.out,
          activations,
          {
            model: await checkpoint.fingerprint(),
            calibration: await fileFingerprint(file),
            pooling: poolingName(pooling),
          },
          signal,
        );
        run.terminal.result(
          facts,
          `${facts.layers} layers × ${facts.samples} samples × ${facts.hidden_size}, from ${facts.tokens} tokens → ${options.out}`,
        );
      } finally {
        await source.close();
        await checkpoint.close();
      }

      async function textBatches(text: string) {
        const tokenizer = await openTokenizer(checkpoint.directory);
        return calibrationBatches(
          await readSequences(text, checkpoint, tokenizer, { ...options, spread: true }, run),
        );
      }
    });
}
