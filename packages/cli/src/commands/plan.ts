import { join } from "node:path";
import { loadActivations, parsePooling } from "@layerfold/capture";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import { type Activations, LayerfoldError, type Planner } from "@layerfold/core";
import { checkRepair, checkTarget, layerFacts } from "@layerfold/merge";
import type { Command } from "commander";
import { answerFacts, readAnswers, readCalibration } from "../calibration.js";
import { type CommonOptions, command, integer } from "../command.js";
import { describePlan, planFacts } from "../describe-plan.js";
import { gatherEvidence, judgesBy } from "../evidence.js";
import { openModelCheckpoint } from "../inputs.js";
import { dataFact, modelFact } from "../manifest.js";
import { checkOutputFiles, writeOutputFiles } from "../output-files.js";
import { inputPaths, jsonText, outputOf } from "../outputs.js";
import { foldParts } from "../preset-parts.js";
import { makePlugin, pluginFacts } from "../registry.js";
import { repairChoices } from "../repair-choices.js";
import { createRun } from "../run.js";
import { loadSimilarity, makeComparison } from "../similarity.js";
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
      command(
        "plan",
        "Decide which layers fold together; writes an editable JSON plan.",
        "layerfold plan models/foldling/checkpoint --layers 12 --planner lowest-influence --calibration models/foldling/data/calibration.jsonl --out plan.json",
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
    .action(async (modelPath: string, options: PlanOptions) => {
      const run = createRun(options, signal);
      const out = outputOf(options);
      const planner = await makePlugin<Planner>("planner", options.planner, run.settings.of("planner"));
      const { strategy, repair } = await foldParts(
        { strategy: { id: options.strategy }, repair: options.repair ? { id: options.repair } : undefined },
        run,
      );
      const comparison = await makeComparison(options.measure, options.embedding, run);
      run.settings.assertUsed();
      if (out !== undefined) {
        const { calibration, calibrationQuestions, similarity, capture } = options;
        const texts = [calibration, calibrationQuestions];
        const inputs = inputPaths({ models: [modelPath], texts, files: [similarity, capture] });
        await checkOutputFiles([out], { command: "plan", inputs });
      }
      const checkpoint = await openModelCheckpoint(modelPath, run);
      try {
        const layerCount = checkpoint.architecture.blocks.length;
        checkTarget({ layerCount }, options.layers, "--layers");
        if (repair) checkRepair(repair, await layerFacts(checkpoint), undefined, repairChoices(repair));
        const calibration = options.calibration
          ? await readCalibration(
              options.calibration,
              { checkpoint, tokenizer: await openTokenizer(checkpoint.directory) },
              options,
              run,
            )
          : undefined;
        const { evidence, close } = await gatherEvidence(
          planner,
          {
            checkpoint,
            comparison,
            pooling: parsePooling(options.pooling),
            planningTokens: options.planningTokens,
            recallWeight: options.recallWeight,
            similarity: options.similarity ? await loadSimilarity(options.similarity, layerCount) : undefined,
            activations: options.capture ? await loadCapture(options.capture, checkpoint) : undefined,
            calibration,
            answers: options.calibrationQuestions
              ? await readAnswers(
                  options.calibrationQuestions,
                  {
                    tokenizer: await openTokenizer(checkpoint.directory),
                    context: checkpoint.architecture.maxPositionEmbeddings,
                  },
                  options,
                  run,
                )
              : undefined,
            fold: { strategy, repair },
          },
          run,
        );
        const plan = await Promise.resolve(planner.plan(evidence, options.layers, run.ctx)).finally(close);
        const said = describePlan(plan, checkpoint.architecture);
        if (out === undefined) {
          run.terminal.result(planFacts(plan, checkpoint.architecture), said);
        } else {
          const { similarity, capture } = options;
          const judges = judgesBy(planner) ? [strategy, repair] : [];
          const compares = planner.needs.includes("similarity") && !similarity;
          const looks = compares ? [comparison.measure, comparison.embedding] : [];
          await writeOutputFiles(
            new Map([[out, jsonText(plan)]]),
            {
              command: "plan",
              arguments: options,
              model: await modelFact(modelPath, checkpoint),
              data: {
                ...(calibration && { calibration: calibration.facts }),
                ...(await answerFacts(options.calibrationQuestions)),
                ...(similarity && { similarity: await dataFact(similarity) }),
                ...(capture && { capture: await dataFact(join(capture, "activations.json")) }),
              },
              plugins: pluginFacts(planner, ...judges, ...looks),
            },
            run,
          );
          run.terminal.result(plan, `${said} → ${out}`);
        }
      } finally {
        await checkpoint.close();
      }
    });
}

/** @throws CAPTURE_MISMATCH when the activations are another model's */
async function loadCapture(folder: string, checkpoint: Checkpoint): Promise<Activations> {
  const { activations, meta } = await loadActivations(folder);
  const fingerprint = await checkpoint.fingerprint();
  if (meta.model === fingerprint) return activations;
  throw new LayerfoldError("CAPTURE_MISMATCH", "these activations were captured from another model", {
    wanted: `model ${fingerprint.slice(0, 12)}…`,
    got: `${meta.model.slice(0, 12)}…`,
    where: folder,
  });
}
