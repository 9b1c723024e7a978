import type {
  Architecture,
  Embedding,
  MergePlan,
  MergeStrategy,
  Planner,
  Repair,
  SimilarityMeasure,
} from "@layerfold/core";
import type { Preset } from "@layerfold/merge";
import { resultRows } from "../grid/render-results.js";
import { gridPlans, runGrid } from "../grid/run-grid.js";
import { partName } from "../make-part.js";
import { type RecipeSource, recipeInCode } from "../recipe/read-recipe.js";
import type { Part, Recipe } from "../recipe/recipe-schema.js";
import type { ResultRow } from "../results.js";
import { asRun, type Run, type RunOptions } from "../run.js";

/** What `compress` makes of which model. Paths are relative to the working folder. */
export interface CompressRequest {
  /** Checkpoint folder, or `hf:org/name[@revision]`, which is downloaded if need be. */
  readonly model: string;
  /** Layers that remain, each from 1 to one less than the model's; one folded model each. */
  readonly layers: readonly number[];
  /** A preset's name (`layerfold`, `mka`, …) or a method of one's own; default `layerfold`. */
  readonly method?: string | Preset | undefined;
  /** In the stead of the method's: which layers fold together. Id, path to a module, or the plug-in; or a plan, FILE.json. */
  readonly planner?: Part<Planner> | undefined;
  /** In the stead of the method's: how layers become one. */
  readonly strategy?: Part<MergeStrategy> | undefined;
  /** In the stead of the method's: correction afterwards, or `none`. */
  readonly repair?: Part<Repair> | undefined;
  /** In the stead of the method's: how layers are compared. */
  readonly measure?: Part<SimilarityMeasure> | undefined;
  /** In the stead of the method's: what comes before the measure. */
  readonly embedding?: Part<Embedding> | undefined;
  /** Texts that the method looks at, with shares of the tokens: `a.txt:0.5,b.jsonl[200:]:0.5`, `self`, `piqa:rows.jsonl`. */
  readonly calibration?: string | undefined;
  /** Texts that perplexity is measured on, `FILE` or `FILE[from:to]` each; the single figures are the first one's. */
  readonly evaluate?: readonly string[] | undefined;
  /** Multiple-choice questions, `FILE` or `FILE[from:to]`. */
  readonly questions?: string | undefined;
  /** Public benchmarks, `NAME:FILE` or `NAME:FILE[from:to]` each. */
  readonly tasks?: readonly string[] | undefined;
  /** Tokens that the model sees at once; default 512, or its context where that is shorter. */
  readonly window?: number | undefined;
  /** Tokens between two evaluation windows' starts; default: the window. */
  readonly stride?: number | undefined;
  /** Of each evaluation text, from its start; default: all. */
  readonly maxTokens?: number | undefined;
  /** Of the calibration texts, spread evenly over them; `auto`: as many as the repair gains by; default: as many as the shares allow. */
  readonly calibrationTokens?: number | "auto" | undefined;
  /** Temperature at which `self` draws its text; default 1. */
  readonly selfTemperature?: number | undefined;
  /** Questions that planners which try plans weigh beside the text, `FILE` or `FILE[from:to]`. */
  readonly calibrationQuestions?: string | undefined;
  /** Of the answers' mean loss beside the text's; default 1. */
  readonly questionWeight?: number | undefined;
  /** What such planners weigh the mean loss of tokens that stood in their window before; default the method's, else 0. */
  readonly recallWeight?: number | undefined;
  /** Calibration tokens that plans are tried on; default 16,384. */
  readonly planningTokens?: number | undefined;
  /** Samples of every layer: `last`, `mean`, `every:k` or `all`; default `last` of documents, `every:16` with a stream. */
  readonly pooling?: string | undefined;
  /** Schemes by which the dense model and every fold are quantised too, each from the same calibration text. */
  readonly quantizations?: readonly string[] | undefined;
  /** Of a quantised model's embedding; absent: it stays as it is. */
  readonly embeddingBits?: 4 | 8 | undefined;
  /** Measure although the evaluation text stands in the calibration text. */
  readonly allowOverlap?: boolean | undefined;
  /** Folder for the checkpoints, results.json, report.html and manifest.json. Absent: the folds are measured and thrown away. */
  readonly out?: string | undefined;
  /** Replace a folder that is not empty, if layerfold wrote all that is in it. */
  readonly force?: boolean | undefined;
}

export interface CompressResult {
  /** The dense model, then every fold beside its drop control, each with the schemes by which it was quantised. */
  readonly rows: readonly ResultRow[];
  readonly plans: readonly MergePlan[];
  /** What the reader must know before trusting the figures. */
  readonly notes: readonly string[];
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: { readonly made: number; readonly found: number };
}

/**
 * The whole way: dense figures, capture, similarity, and for every target a plan, a fold, its drop control, and their figures. Each is a task
 * whose result lies in `OUT.work` until OUT stands, whole: after any error the same call goes on from there. Cost: a search's trials and a
 * repair's passes over the calibration text; memory of the whole model once, in float32, or of two of its blocks (`RunOptions.memory`).
 *
 * @param options - seed, work folder, executor, abort signal, report, options of plug-ins; or a run made of them
 * @throws LayerfoldError by code: PRESET_UNKNOWN, PLUGIN_UNKNOWN, PLUGIN_MODULE, OPTION_UNKNOWN, OPTION_INVALID, LAYERS_OUT_OF_RANGE,
 * GRID_TWICE, REPAIR_UNSUPPORTED, CALIBRATION_MISSING, CALIBRATION_TOO_SMALL, CALIBRATION_OVERLAPS, TEXT_SOURCE, FILE_MISSING, OUTPUT_EXISTS,
 * OUTPUT_OVERLAPS_INPUT, OUTPUT_IN_USE, INTERRUPTED, and what reading checkpoints and texts throws
 *
 * @example
 * ```ts
 * const result = await compress({
 *   model: "./my-model", layers: [24], method: "layerfold",
 *   calibration: "a.txt:0.5,b.jsonl:0.5", evaluate: ["test.txt"], out: "./folded",
 * });
 * result.rows[1].perplexity_ratio;
 * ```
 */
export async function compress(
  request: CompressRequest,
  options: RunOptions | Run = {},
): Promise<CompressResult> {
  const { out, force } = request;
  const { table, architecture, tasks } = await runGrid(
    sourceOf(request),
    { out, force, command: "compress" },
    asRun(options),
  );
  const { plans, notes } = table;
  const rows = resultRows(table, architecture.blocks.length);
  return { rows, plans: plans.map(({ plan }) => plan), notes, tasks };
}

/** The plans alone: nothing is folded, measured or written. */
export async function compressPlans(
  request: CompressRequest,
  options: RunOptions | Run = {},
): Promise<{ readonly plans: readonly MergePlan[]; readonly architecture: Architecture }> {
  return gridPlans(sourceOf(request), asRun(options));
}

function sourceOf(request: CompressRequest): RecipeSource {
  const { recipe } = recipeInCode(compressRecipe(request));
  return { recipe, locate: ([key]) => (key === "layers" ? "--layers" : undefined) };
}

/** The recipe that a request stands for. */
export function compressRecipe(request: CompressRequest): Recipe {
  const { model, layers, method = "layerfold", planner, strategy, repair, measure, embedding } = request;
  const { calibration, calibrationTokens, calibrationQuestions, window } = request;
  const replaced = { planner, strategy, repair, measure, embedding };
  const own = Object.fromEntries(Object.entries(replaced).filter(([, part]) => part !== undefined));
  const judged = { texts: request.evaluate, questions: request.questions, tasks: request.tasks };
  const recipe = {
    model,
    ...(calibration !== undefined && {
      calibration: {
        text: calibration,
        tokens: calibrationTokens,
        window,
        self_temperature: request.selfTemperature,
        questions: calibrationQuestions,
        question_weight: request.questionWeight,
        recall_weight: request.recallWeight,
        planning_tokens: request.planningTokens,
        pooling: request.pooling,
      },
    }),
    evaluate: {
      ...judged,
      window,
      stride: request.stride,
      max_tokens: request.maxTokens,
      allow_overlap: request.allowOverlap,
    },
    methods: [methodOf(method, own)],
    layers,
    quantize: request.quantizations,
    embedding_bits: request.embeddingBits,
  };
  return recipe as Recipe;
}

function methodOf(method: string | Preset, own: object): unknown {
  if (typeof method === "string") return Object.keys(own).length > 0 ? { method, ...own } : method;
  const { id, planner, strategy, repair, measure, embedding, recallWeight } = method;
  const parts = { planner, strategy, repair, measure, embedding, ...own };
  const name = [id, ...Object.values(own).map((part) => partName(part as Part))].join("+");
  return { name, ...parts, recall_weight: recallWeight };
}
