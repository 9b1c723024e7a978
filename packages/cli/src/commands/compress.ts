import { LayerfoldError } from "@layerfold/core";
import { benchmarkIds } from "@layerfold/evaluate";
import { presetIds } from "@layerfold/merge";
import { type CompressRequest, compress, compressPlans } from "@layerfold/pipeline";
import { type Command, InvalidArgumentError } from "commander";
import { command, integer, memoryOption, several, withDevice, withWorkers } from "../command.js";
import { describePlan, planFacts } from "../describe-plan.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { judgedTable, resultTable } from "../table.js";
import {
  type CalibrationFlags,
  type QuestionFlags,
  withCalibration,
  withQuestions,
} from "./calibration-flags.js";
import { embeddingBits } from "./quantize.js";

interface CompressOptions extends CommonOptions, CalibrationFlags, QuestionFlags {
  readonly layers: number[];
  readonly method: string;
  readonly planner?: string;
  readonly strategy?: string;
  readonly repair?: string;
  readonly measure?: string;
  readonly embedding?: string;
  readonly evaluate?: readonly string[];
  readonly questions?: string;
  readonly task?: readonly string[];
  readonly stride?: number;
  readonly maxTokens?: number;
  readonly pooling?: string;
  readonly then?: string[];
  readonly embeddingBits?: 4 | 8;
  readonly allowOverlap?: boolean;
  readonly dryRun?: boolean;
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
  return withQuestions(
    withCalibration(
      withWorkers(
        withDevice(
          command(
            "compress",
            "The whole way: capture, compare, plan, fold, and measure the fold beside its drop control.",
            "layerfold compress models/foldling/checkpoint --layers 12 --method mka --calibration models/foldling/data/calibration.jsonl --evaluate models/foldling/data/validation.jsonl --questions models/foldling/data/questions-test.jsonl --out folded",
          ),
        ),
      ),
      "text that the method looks at",
      true,
    ),
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption("--layers <counts>", "layers that remain: a number, or a list such as 12,10,9", layerList)
    .option("--method <name>", `preset: ${presetIds.join(", ")}`, "layerfold")
    .option(
      "--planner <name>",
      "in the preset's stead: a planner, a path to a module with one, or a plan (FILE.json)",
    )
    .option("--strategy <name>", "in the preset's stead: how layers become one")
    .option("--repair <name>", "in the preset's stead: correction afterwards, or none")
    .option("--measure <name>", "in the preset's stead: how layers are compared")
    .option("--embedding <name>", "in the preset's stead: what comes before the measure")
    .option(
      "--evaluate <text>",
      "text that perplexity is measured on, FILE or FILE[from:to]; must not be the calibration text; may be given often",
      several,
    )
    .option("--task <name:file>", `public benchmark: ${benchmarkIds.join(", ")}; may be given often`, several)
    .option("--questions <file>", "multiple-choice questions")
    .option(
      "--stride <tokens>",
      "tokens between two evaluation windows' starts (default: the window)",
      integer(1),
    )
    .option(
      "--max-tokens <tokens>",
      "use only so many tokens of each text (of the calibration: unless --calibration-tokens says otherwise)",
      integer(2),
    )
    .option(
      "--pooling <how>",
      "samples per layer: last (default with documents), every:16 (with a stream), mean, every:k, all",
    )
    .option(
      "--then <schemes>",
      "quantise the dense model and every fold too, e.g. gptq-w4g128 or smoothquant-w8a8,gptq-w4g128,awq-w4g128",
      (text: string) => text.split(","),
    )
    .option(
      "--embedding-bits <bits>",
      "of --then: round the embedding too, to 4 or 8 bits (compressed-tensors files)",
      embeddingBits,
    )
    .option("--allow-overlap", "measure although the evaluation text also stands in the calibration text")
    .option(
      "--dry-run",
      "print the plans with the shares of layers and parameters that go, and write nothing",
    )
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .option("--out <folder>", "checkpoint, results.json, report.html and manifest.json go here")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .addOption(memoryOption())
    .action(async (model: string, { then: quantizations, ...options }: CompressOptions) => {
      if (options.embeddingBits && !quantizations) {
        throw new LayerfoldError("OPTION_INVALID", "nothing is quantised whose embedding could be rounded", {
          wanted: "--then SCHEME",
          where: "--embedding-bits",
        });
      }
      const run = createCommandRun(options, signal);
      const request: CompressRequest = {
        ...options,
        tasks: options.task,
        model,
        quantizations,
        calibrationTokens: options.calibrationTokens ?? options.maxTokens,
      };
      if (options.dryRun) {
        const { plans, architecture } = await compressPlans(request, run);
        run.terminal.result(
          { plans: plans.map((plan) => planFacts(plan, architecture)) },
          plans.map((plan) => describePlan(plan, architecture)).join("\n"),
        );
        return;
      }
      const result = await compress(request, run);
      run.terminal.result(
        { rows: result.rows, notes: result.notes, tasks: result.tasks },
        [resultTable(result.rows), judgedTable(result.rows)].filter(Boolean).join("\n"),
      );
      if (options.out) run.terminal.say(`→ ${options.out} (report.html, results.json, manifest.json)`);
    });
}
