import {
  checkOutputFiles,
  inputPaths,
  jsonText,
  outputOf,
  plan as planModel,
  writeOutputFiles,
} from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, integer, memoryOption, withDevice } from "../command.js";
import { describePlan, planFacts } from "../describe-plan.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import {
  type CalibrationFlags,
  type QuestionFlags,
  withCalibration,
  withQuestions,
} from "./calibration-flags.js";

interface PlanOptions extends CommonOptions, CalibrationFlags, QuestionFlags {
  readonly layers: number;
  readonly planner: string;
  readonly strategy: string;
  readonly repair?: string;
  readonly similarity?: string;
  readonly capture?: string;
  readonly measure: string;
  readonly embedding?: string;
  readonly pooling: string;
  readonly out?: string;
  readonly dryRun?: boolean;
}

export function planCommand(signal: AbortSignal): Command {
  return withQuestions(
    withCalibration(
      withDevice(
        command(
          "plan",
          "Decide which layers fold together; writes an editable JSON plan.",
          "layerfold plan models/foldling/checkpoint --layers 12 --planner lowest-influence --calibration models/foldling/data/calibration.jsonl --out plan.json",
        ),
      ),
      "text to gather evidence from",
    ),
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .requiredOption("--layers <count>", "layers that remain", integer(1))
    .requiredOption("--planner <name>", "planner, or a path to a module with one")
    .option(
      "--strategy <name>",
      "how layers become one, where plans are judged after fold and repair",
      "drop",
    )
    .option("--repair <name>", "correction afterwards, where plans are judged after fold and repair")
    .option("--similarity <file>", "matrix that `layerfold similarity` wrote")
    .option("--capture <folder>", "activations that `layerfold capture` wrote")
    .option("--measure <name>", "similarity measure, where a matrix has to be made", "npib")
    .option("--embedding <name>", "embedding before the measure")
    .option("--pooling <how>", "samples of a capture made here: last, mean, every:k, all", "last")
    .option("--dry-run", "print the plan with the shares of layers and parameters that go, and write nothing")
    .option("--out <file>", "plan to write")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: nowhere)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .addOption(memoryOption())
    .action(async (model: string, options: PlanOptions) => {
      const run = createCommandRun(options, signal);
      const out = outputOf(options);
      const { calibration, calibrationQuestions, similarity, capture, strategy, repair } = options;
      if (out !== undefined) {
        const texts = [calibration, calibrationQuestions];
        const inputs = inputPaths({ models: [model], texts, files: [similarity, capture] });
        await checkOutputFiles([out], { command: "plan", inputs });
      }
      const { plan, architecture, facts } = await planModel(
        {
          ...options,
          model,
          strategy,
          repair,
        },
        run,
      );
      const said = describePlan(plan, architecture);
      if (out === undefined) return run.terminal.result(planFacts(plan, architecture), said);
      const told = { ...facts, command: "plan", arguments: options };
      await writeOutputFiles(new Map([[out, jsonText(plan)]]), told, run);
      run.terminal.result(plan, `${said} → ${out}`);
    });
}
