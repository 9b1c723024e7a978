import { join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import { checkPlan, checkRepair, layerFacts } from "@layerfold/merge";
import type { Command } from "commander";
import { calibrationSources, knownCalibration } from "../calibration.js";
import { describeTrials, sizedCalibration } from "../calibration-size.js";
import { type CommonOptions, command } from "../command.js";
import { describePlan, planFacts } from "../describe-plan.js";
import { foldModel } from "../fold.js";
import { openModel, openModelCheckpoint } from "../inputs.js";
import { manifestOf, modelFact, writeManifest } from "../manifest.js";
import { inputPaths, outputOf } from "../outputs.js";
import { readPlan } from "../plan-file.js";
import { foldParts } from "../preset-parts.js";
import { pluginFacts } from "../registry.js";
import { repairChoices } from "../repair-choices.js";
import { createRun } from "../run.js";
import { resumable } from "../unfinished.js";
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
    command(
      "merge",
      "Apply a plan: write the folded checkpoint, tensor by tensor.",
      "layerfold merge models/foldling/checkpoint --plan plan.json --out folded",
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
    .action(async (modelPath: string, options: MergeOptions) => {
      const run = createRun(options, signal);
      const out = outputOf(options);
      const { strategy, repair } = await foldParts(
        { strategy: { id: options.strategy }, repair: options.repair ? { id: options.repair } : undefined },
        run,
      );
      run.settings.assertUsed();
      if (out !== undefined) {
        const { calibration, plan, force } = options;
        const inputs = inputPaths({ models: [modelPath], texts: [calibration], files: [plan] });
        await checkOutputFolder(out, { force, inputs });
      }
      if (repair && !options.calibration && out !== undefined) {
        throw new LayerfoldError("CALIBRATION_MISSING", `the repair ${repair.id} needs a calibration text`, {
          wanted: "--calibration FILE",
        });
      }
      const plan = await readPlan(options.plan);
      // A merge alone looks at no text, so a checkpoint without a tokenizer will do.
      const { checkpoint, tokenizer } =
        repair && out !== undefined
          ? await openModel(modelPath, run)
          : { checkpoint: await openModelCheckpoint(modelPath, run), tokenizer: undefined };
      try {
        if (repair) {
          const { groups } = checkPlan(plan, checkpoint.architecture);
          checkRepair(repair, await layerFacts(checkpoint), groups, repairChoices(repair));
        }
        if (out === undefined) {
          checkPlan(plan, checkpoint.architecture);
          const { architecture } = checkpoint;
          run.terminal.result(planFacts(plan, architecture), describePlan(plan, architecture));
          return;
        }
        const looksAt = repair && options.calibration;
        const facts = {
          command: "merge",
          arguments: { ...options, plan },
          model: await modelFact(modelPath, checkpoint),
          data: { ...(looksAt && { calibration: await calibrationSources(looksAt) }) },
          plugins: pluginFacts(strategy, repair),
        };
        const { folded, trials, calibration } = await resumable(
          // Only a repair takes long enough to be worth keeping.
          repair && out,
          manifestOf(facts, run),
          async ({ folder, known }) => {
            const all =
              tokenizer && options.calibration
                ? await knownCalibration(options.calibration, { checkpoint, tokenizer }, options, known, run)
                : undefined;
            const sized =
              options.calibrationTokens === "auto" && repair && all
                ? await known(["size"], () =>
                    sizedCalibration(checkpoint, plan, { strategy, repair }, all, run),
                  )
                : undefined;
            if (sized) run.terminal.say(describeTrials(sized));
            const calibration = sized?.calibration ?? all;
            const { force } = options;
            const unfinished = join(folder, "blocks");
            const folded = await foldModel(
              checkpoint,
              { plan, strategy, repair, calibration, out, force, unfinished },
              run,
            );
            return { folded, trials: sized?.trials, calibration: calibration?.facts };
          },
          run,
        );
        await writeManifest(out, { ...facts, data: { ...(calibration && { calibration }) } }, run);
        run.terminal.result(
          trials ? { ...folded, calibration_trials: trials } : folded,
          `${plan.groups.length} of ${plan.num_hidden_layers} layers, ${(folded.parameterRatio * 100).toFixed(1)} % of parameters removed → ${out}`,
        );
      } finally {
        await checkpoint.close();
      }
    });
}
