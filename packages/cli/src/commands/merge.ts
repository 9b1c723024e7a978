import { checkPlan, checkRepair, layerFacts } from "@layerfold/merge";
import { fold, foldParts, openModelCheckpoint, outputOf, readPlan, repairChoices } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, withDevice } from "../command.js";
import { describePlan, planFacts } from "../describe-plan.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface MergeOptions extends CommonOptions, CalibrationFlags {
  readonly plan: string;
  readonly strategy: string;
  readonly repair?: string;
  readonly force?: boolean;
  readonly out?: string;
  readonly dryRun?: boolean;
}

export function mergeCommand(signal: AbortSignal): Command {
  return withCalibration(
    withDevice(
      command(
        "merge",
        "Apply a plan: write the folded checkpoint, tensor by tensor.",
        "layerfold merge models/foldling/checkpoint --plan plan.json --out folded",
      ),
    ),
    "text for the repair",
    true,
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption("--plan <file>", "plan that `layerfold plan` wrote, or your own")
    .option("--strategy <name>", "how layers become one, or a path to a module", "weighted")
    .option("--repair <name>", "closed-form correction afterwards; needs --calibration")
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .option(
      "--dry-run",
      "check the plan, print the shares of layers and parameters that go, and write nothing",
    )
    .option("--out <folder>", "checkpoint to write")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .action(async (model: string, options: MergeOptions) => {
      const run = createCommandRun(options, signal);
      const out = outputOf(options);
      const { strategy, repair } = options;
      if (out === undefined) {
        const parts = await foldParts({ strategy, ...(repair && { repair }) }, run);
        run.settings.assertUsed();
        const plan = await readPlan(options.plan);
        const checkpoint = await openModelCheckpoint(model, run);
        const { architecture } = checkpoint;
        const layers = await layerFacts(checkpoint).finally(() => checkpoint.close());
        const { groups } = checkPlan(plan, architecture);
        if (parts.repair) checkRepair(parts.repair, layers, groups, repairChoices(parts.repair));
        run.terminal.result(planFacts(plan, architecture), describePlan(plan, architecture));
        return;
      }
      const { calibration, calibrationTokens, selfTemperature, window, force } = options;
      const { sized, plan, ...folded } = await fold(
        {
          model,
          plan: options.plan,
          strategy,
          repair,
          calibration,
          calibrationTokens,
          selfTemperature,
          window,
          out,
          force,
        },
        run,
      );
      run.terminal.result(
        sized ? { ...folded, calibration_trials: sized.trials } : folded,
        `${plan.groups.length} of ${plan.num_hidden_layers} layers, ${(folded.parameterRatio * 100).toFixed(1)} % of parameters removed → ${out}`,
      );
    });
}
