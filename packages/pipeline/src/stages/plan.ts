import { join } from "node:path";
import { loadActivations } from "@layerfold/capture";
import { type Checkpoint, openTokenizer } from "@layerfold/checkpoint";
import {
  type Architecture,
  type Embedding,
  LayerfoldError,
  type MergePlan,
  type MergeStrategy,
  type Planner,
  type Repair,
  type SimilarityMeasure,
} from "@layerfold/core";
import { checkRepair, checkTarget, layerFacts } from "@layerfold/merge";
import type { Artefact } from "@layerfold/tasks";
import {
  answerFacts,
  type Calibration,
  type CalibrationOptions,
  readAnswers,
  readCalibration,
} from "../calibration/read-calibration.js";
import { judgesBy } from "../evidence/judges-by.js";
import { openModelCheckpoint } from "../inputs/open-model.js";
import { partMaker } from "../make-part.js";
import { dataFact, modelFact, type RunFacts } from "../manifest.js";
import { withExecution } from "../memory.js";
import { foldParts } from "../preset-parts.js";
import type { Part } from "../recipe/recipe-schema.js";
import { pluginFacts } from "../registry.js";
import { repairChoices } from "../repair-choices.js";
import { asRun, type Run, type RunOptions } from "../run.js";
import type { StoredCapture } from "../tasks/capture.js";
import { type StoredMatrix, storedMatrix } from "../tasks/similarity.js";
import { withTasks } from "../work-folder.js";
import { givenFact, givenFile, modelOf } from "./given-inputs.js";
import { calibratedModel } from "./open-workbench.js";
import { comparisonOf, loadSimilarity } from "./similarity.js";
import { planOf } from "./workbench.js";

export interface PlanRequest extends CalibrationOptions {
  /** Checkpoint folder, or `hf:org/name`. */
  readonly model: string;
  /** Layers that remain. */
  readonly layers: number;
  /** An id, a path to a module, or the plug-in. */
  readonly planner: Part<Planner>;
  /** How plans will be carried out, for planners that judge by it; default `drop`. */
  readonly strategy?: Part<MergeStrategy> | undefined;
  readonly repair?: Part<Repair> | undefined;
  /** How layers are compared, for planners that look at it; default `npib`. */
  readonly measure?: Part<SimilarityMeasure> | undefined;
  readonly embedding?: Part<Embedding> | undefined;
  /** Samples of a capture made here; default `last`. */
  readonly pooling?: string | undefined;
  readonly calibration?: string | undefined;
  readonly calibrationQuestions?: string | undefined;
  readonly questionWeight?: number | undefined;
  readonly recallWeight?: number | undefined;
  readonly planningTokens?: number | undefined;
  /** File of a matrix that stands already. */
  readonly similarity?: string | undefined;
  /** Folder of a capture that stands already. */
  readonly capture?: string | undefined;
}

export interface PlanResult {
  readonly plan: MergePlan;
  readonly architecture: Architecture;
  /** For a manifest. */
  readonly facts: Omit<RunFacts, "command" | "arguments">;
}

/**
 * Decides which layers fold together. Writes nothing but finished trials, and those only where the run has a work folder of its own.
 * @throws EVIDENCE_MISSING, CAPTURE_MISMATCH, SIMILARITY_INVALID, LAYERS_OUT_OF_RANGE, and what reading the model and the texts throws
 */
export async function plan(request: PlanRequest, options: RunOptions | Run = {}): Promise<PlanResult> {
  const given = asRun(options);
  const make = partMaker(given.settings.of);
  const planner = await make<Planner>("planner", request.planner);
  const { strategy = "drop", repair: named } = request;
  const { strategy: carried, repair } = await foldParts(
    { strategy, ...(named && { repair: named }) },
    given,
    make,
  );
  const comparison = await comparisonOf(request.measure ?? "npib", request.embedding, make);
  given.settings.assertUsed();
  const checkpoint = await openModelCheckpoint(request.model, given);
  try {
    const run = request.calibration === undefined ? given : withExecution(given, checkpoint);
    const { blocks, maxPositionEmbeddings: context } = checkpoint.architecture;
    checkTarget({ layerCount: blocks.length }, request.layers, "--layers");
    if (repair) checkRepair(repair, await layerFacts(checkpoint), undefined, repairChoices(repair));
    return await withTasks(undefined, run, async (tasks) => {
      const model = await modelOf(checkpoint, run);
      const tokenizer =
        request.calibration === undefined && request.calibrationQuestions === undefined
          ? undefined
          : await openTokenizer(checkpoint.directory);
      const calibration: Calibration | undefined =
        request.calibration !== undefined && tokenizer
          ? await readCalibration(
              request.calibration,
              calibratedModel({ checkpoint, tokenizer, model }, tasks, run),
              request,
              run,
            )
          : undefined;
      const answers =
        request.calibrationQuestions !== undefined && tokenizer
          ? await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run)
          : undefined;
      const capture =
        request.capture === undefined ? undefined : await givenCapture(request.capture, checkpoint);
      const similarity =
        request.similarity === undefined
          ? undefined
          : await givenSimilarity(request.similarity, blocks.length);
      checkEvidence(planner, { calibration, capture, similarity });
      const found = await planOf(
        {
          ...{ checkpoint, model, calibration, answers, tasks, run },
          ...(request.planningTokens !== undefined && { planningTokens: request.planningTokens }),
          pooling: request.pooling ?? "last",
        },
        { planner, strategy: carried, ...(repair && { repair }), comparison },
        request.layers,
        request.recallWeight,
        { capture, similarity },
      );
      const judges = judgesBy(planner) ? [carried, repair] : [];
      const compares = planner.needs.includes("similarity") && !similarity;
      return {
        plan: found,
        architecture: checkpoint.architecture,
        facts: {
          model: await modelFact(request.model, checkpoint),
          data: {
            ...(calibration && { calibration: calibration.facts }),
            ...(await answerFacts(request.calibrationQuestions)),
            ...(similarity && { similarity: givenFact(similarity) }),
            ...(request.capture && { capture: await dataFact(join(request.capture, "activations.json")) }),
          },
          plugins: pluginFacts(
            planner,
            ...judges,
            ...(compares ? [comparison.measure, comparison.embedding] : []),
          ),
        },
      };
    });
  } finally {
    await checkpoint.close();
  }
}

/** @throws EVIDENCE_MISSING before anything is run for nothing */
function checkEvidence(
  { id, needs }: Planner,
  { calibration, capture, similarity }: Readonly<Record<"calibration" | "capture" | "similarity", unknown>>,
): void {
  const missing = needs.some((kind) => {
    if (calibration) return false;
    if (kind === "similarity") return !similarity && !capture;
    return kind === "tokenStatistics" ? !capture : true;
  });
  if (!missing) return;
  throw new LayerfoldError("EVIDENCE_MISSING", `the planner ${id} must see what the layers do`, {
    wanted: "a calibration text (--calibration), a capture (--capture) or, for some planners, --similarity",
  });
}

/** @throws CAPTURE_MISMATCH when the activations are another model's */
async function givenCapture(folder: string, checkpoint: Checkpoint): Promise<Artefact<StoredCapture>> {
  const { activations, meta } = await loadActivations(folder);
  const fingerprint = await checkpoint.fingerprint();
  if (meta.model !== fingerprint) {
    throw new LayerfoldError("CAPTURE_MISMATCH", "these activations were captured from another model", {
      wanted: `model ${fingerprint.slice(0, 12)}…`,
      got: `${meta.model.slice(0, 12)}…`,
      where: folder,
    });
  }
  const value = { activations, pooling: meta.pooling };
  return givenFile(folder, async () => value);
}

async function givenSimilarity(file: string, layerCount: number): Promise<Artefact<StoredMatrix>> {
  const matrix = storedMatrix(await loadSimilarity(file, layerCount));
  return givenFile(file, async () => matrix);
}
