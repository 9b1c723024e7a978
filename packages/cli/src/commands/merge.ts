import { readFile } from "node:fs/promises";
import { LayerfoldError, type MergeStrategy, parsePlan, type Repair } from "@layerfold/core";
import type { Command } from "commander";
import { type CommonOptions, command, integer } from "../command.js";
import { foldModel } from "../fold.js";
import { openModel, openModelCheckpoint, readSequences } from "../inputs.js";
import { makePlugin } from "../registry.js";
import { createRun } from "../run.js";

interface MergeOptions extends CommonOptions {
  readonly plan: string;
  readonly strategy: string;
  readonly repair?: string;
  readonly calibration?: string;
  readonly window?: number;
  readonly maxTokens?: number;
  readonly force?: boolean;
  readonly out: string;
}

export function mergeCommand(signal: AbortSignal): Command {
  return command(
    "merge",
    "Apply a plan: write the folded checkpoint, tensor by tensor.",
    "layerfold merge models/foldling/checkpoint --plan plan.json --out folded",
  )
    .argument("<model>", "checkpoint folder")
    .requiredOption("--plan <file>", "plan that `layerfold plan` wrote, or your own")
    .option("--strategy <name>", "how layers become one, or a path to a module", "weighted")
    .option("--repair <name>", "closed-form correction afterwards; needs --calibration")
    .option("--calibration <file>", "text for the repair")
    .option("--window <tokens>", "longest token sequence (default: 512, or the model's context)", integer(2))
    .option(
      "--max-tokens <tokens>",
      "use only so many calibration tokens, spread evenly over the text",
      integer(2),
    )
    .option("--force", "replace a folder that is not empty")
    .requiredOption("--out <folder>", "checkpoint to write")
    .action(async (modelPath: string, options: MergeOptions) => {
      const run = createRun(options, signal);
      const strategy = await makePlugin<MergeStrategy>(
        "strategy",
        options.strategy,
        run.settings.of("strategy"),
      );
      const repair = options.repair
        ? await makePlugin<Repair>("repair", options.repair, run.settings.of("repair"))
        : undefined;
      run.settings.assertUsed();
      if (repair && !options.calibration) {
        throw new LayerfoldError("CALIBRATION_MISSING", `the repair ${repair.id} needs a calibration text`, {
          wanted: "--calibration FILE",
        });
      }
      const plan = parsePlan(await readJson(options.plan), options.plan);
      // A merge alone looks at no text, so a checkpoint without a tokenizer will do.
      const { checkpoint, tokenizer } = repair
        ? await openModel(modelPath, run)
        : { checkpoint: await openModelCheckpoint(modelPath, run), tokenizer: undefined };
      try {
        const calibration =
          tokenizer && options.calibration
            ? await readSequences(
                options.calibration,
                checkpoint.architecture.maxPositionEmbeddings,
                tokenizer,
                { ...options, spread: true },
                run,
              )
            : undefined;
        const { out, force } = options;
        const folded = await foldModel(checkpoint, { plan, strategy, repair, calibration, out, force }, run);
        run.terminal.result(
          folded,
          `${plan.groups.length} of ${plan.num_hidden_layers} layers, ${(folded.parameterRatio * 100).toFixed(1)} % of parameters removed → ${options.out}`,
        );
      } finally {
        await checkpoint.close();
      }
    });
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, "utf8"));
  } catch (cause) {
    throw new LayerfoldError("PLAN_INVALID", `cannot read the plan: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
}
