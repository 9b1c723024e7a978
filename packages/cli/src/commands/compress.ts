import { preset, presetIds } from "@layerfold/merge";
import { type Command, InvalidArgumentError } from "commander";
import { type CommonOptions, command, integer } from "../command.js";
import { compress } from "../compress.js";
import { createRun } from "../run.js";
import { resultTable } from "../table.js";

interface CompressOptions extends CommonOptions {
  readonly layers: number[];
  readonly method: string;
  readonly calibration?: string;
  readonly evaluate?: string;
  readonly questions?: string;
  readonly window?: number;
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly calibrationTokens?: number;
  readonly pooling?: string;
  readonly out?: string;
  readonly force?: boolean;
}

function layerList(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (counts.some((n) => !Number.isInteger(n)) || text.trim() === "") {
    throw new InvalidArgumentError("wanted a number of layers or a list such as 12,10,9.");
  }
  return [...new Set(counts)];
}

export function compressCommand(signal: AbortSignal): Command {
  return command(
    "compress",
    "The whole way: capture, compare, plan, fold, and measure the fold beside its drop control.",
    "layerfold compress models/foldling/checkpoint --layers 12 --method mka --calibration models/foldling/data/calibration.jsonl --evaluate models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl --out folded",
  )
    .argument("<model>", "checkpoint folder")
    .requiredOption("--layers <counts>", "layers that remain: a number, or a list such as 12,10,9", layerList)
    .option("--method <name>", `preset: ${presetIds.join(", ")}`, "layerfold")
    .option("--calibration <file>", "text that the method looks at")
    .option("--evaluate <file>", "text that perplexity is measured on; must not be the calibration text")
    .option("--questions <file>", "multiple-choice questions")
    .option("--window <tokens>", "longest token sequence (default: 512, or the model's context)", integer(2))
    .option(
      "--stride <tokens>",
      "tokens between two evaluation windows' starts (default: the window)",
      integer(1),
    )
    .option("--max-tokens <tokens>", "use only so many tokens of each text", integer(2))
    .option(
      "--calibration-tokens <tokens>",
      "use only so many calibration tokens (default: --max-tokens)",
      integer(2),
    )
    .option(
      "--pooling <how>",
      "samples per layer: last (default with documents), every:16 (with a stream), mean, every:k, all",
    )
    .option("--force", "replace a folder that is not empty")
    .option("--out <folder>", "checkpoint, results.json, report.html and manifest.json go here")
    .action(async (model: string, options: CompressOptions) => {
      const run = createRun(options, signal);
      const result = await compress(
        {
          ...options,
          model,
          preset: preset(options.method),
          calibrationTokens: options.calibrationTokens ?? options.maxTokens,
        },
        run,
      );
      run.terminal.result({ rows: result.rows, notes: result.notes }, resultTable(result.rows));
      if (options.out) run.terminal.say(`→ ${options.out} (report.html, results.json, manifest.json)`);
    });
}
