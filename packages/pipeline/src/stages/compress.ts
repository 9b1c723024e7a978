import { join } from "node:path";
import type { Checkpoint, Question, Tokenizer } from "@layerfold/checkpoint";
import {
  type Architecture,
  dropControl,
  isLayerfoldError,
  keptLayer,
  LayerfoldError,
  type Matrix,
  type MergePlan,
} from "@layerfold/core";
import { writeWholeFile } from "@layerfold/disk";
import { checkRepair, checkTarget, compatibleLayers, drop, layerFacts, type Preset } from "@layerfold/merge";
import { checkQuantizable, type QuantizationScheme } from "@layerfold/quantize";
import { renderReport } from "@layerfold/report";
import { describeTrials, sizedCalibration } from "../calibration/calibration-size.js";
import { answerFacts, describeCalibration, readAnswers } from "../calibration/read-calibration.js";
import { checkSpace, expectedBytes, type SpaceNeed } from "../disk-space.js";
import {
  type EvaluationRequest,
  type EvaluationSet,
  evaluationFacts,
  readEvaluationSet,
} from "../evaluation/evaluation-set.js";
import type { WeighedAnswers } from "../evidence/judged-text.js";
import { seesActivations } from "../evidence/judges-by.js";
import { spreadSequences } from "../evidence/spread-sequences.js";
import { openModel } from "../inputs/open-model.js";
import { judgedCells } from "../judged-cells.js";
import { type Manifest, manifestOf, modelFact, modelName } from "../manifest.js";
import { inputPaths, writeJson } from "../outputs.js";
import { type PresetParts, presetParts, trialFacts } from "../preset-parts.js";
import { pluginFacts } from "../registry.js";
import { repairChoices } from "../repair-choices.js";
import type { ResultRow } from "../results.js";
import type { Run } from "../run.js";
import { runTask, type TaskRunner } from "../task-runner.js";
import { givenText } from "../tasks/given-text.js";
import { quantizeTask } from "../tasks/quantize.js";
import { makeScheme } from "../tasks/quantize-model.js";
import { matrixOf } from "../tasks/similarity.js";
import type { ModelInput } from "../tasks/stored-model.js";
import { withTasks } from "../work-folder.js";
import { measureModel, type Quality } from "./measure.js";
import { measuredFold } from "./measured-fold.js";
import { openWorkbench } from "./open-workbench.js";
import { isPlanFile } from "./plan-file.js";
import { checkResultFolder, copyTree, putResult } from "./put-result.js";
import { similarityFile } from "./similarity.js";
import { captureOf, foldOf, planOf, similarityOf, type Workbench } from "./workbench.js";

export interface CompressRequest {
  readonly model: string;
  /** Layers that remain, one folded model each. */
  readonly layers: readonly number[];
  readonly preset: Preset;
  readonly calibration?: string;
  /** Texts: `FILE` or `FILE[from:to]` each; the single figures are the first one's. */
  readonly evaluate?: readonly string[];
  readonly questions?: string;
  /** Public benchmarks: `NAME:FILE` or `NAME:FILE[from:to]` each. */
  readonly tasks?: readonly string[];
  readonly window?: number;
  readonly stride?: number;
  /** Of each evaluation text, from its start. */
  readonly maxTokens?: number;
  /** Of the calibration texts, spread evenly over them; `auto`: as many as the repair gains by. */
  readonly calibrationTokens?: number | "auto";
  /** For `self`; default 1. */
  readonly selfTemperature?: number;
  /** Questions that planners which try plans weigh beside the text. */
  readonly calibrationQuestions?: string;
  /** Default 1. */
  readonly questionWeight?: number;
  /** What such planners weigh the mean loss of tokens that stood in their window before; default 0. */
  readonly recallWeight?: number;
  readonly planningTokens?: number;
  readonly pooling?: string;
  /** Schemes by which the dense model and every fold are quantised too, each from the same calibration text. */
  readonly quantizations?: readonly string[];
  /** Of a quantised model's embedding; absent: it stays as it is. */
  readonly embeddingBits?: 4 | 8;
  /** Measure although the evaluation text stands in the calibration text. */
  readonly allowOverlap?: boolean;
  /** Absent: the folded checkpoints are measured and thrown away. */
  readonly out?: string;
  readonly force?: boolean;
}

export interface CompressResult {
  readonly rows: readonly ResultRow[];
  readonly plans: readonly MergePlan[];
  readonly notes: readonly string[];
  /** Tasks that were made, and those that an earlier run or another process had done. */
  readonly tasks: { readonly made: number; readonly found: number };
}

/**
 * The whole way: dense figures, capture, similarity, and for every target a plan, a fold, its drop control, and their figures. Each is a task
 * whose result lies in `OUT.work` until OUT stands, whole: after any error the same call goes on from there.
 */
export async function compress(request: CompressRequest, run: Run): Promise<CompressResult> {
  const out = request.out && (await checkResultFolder(request.out, rulesOf(request), run));
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  try {
    const inputs = await readInputs(request, checkpoint, tokenizer, run);
    return await withTasks(out, run, async (tasks, folder) => {
      await checkSpace(tasks, { folder, out }, spaceNeed(request, checkpoint, inputs));
      const prepared = await prepare(request, checkpoint, tokenizer, inputs, tasks, run);
      const plans = await plansOf(request, prepared);
      const { rows, checkpoints, sizes } = await rowsOf(request, prepared, plans);
      const notes = [...prepared.notes, ...sizes];
      if (out !== undefined) {
        const manifest = await compressManifest(request, checkpoint, prepared, run);
        await putResult(out, { force: request.force, folder }, run, async (finished) => {
          for (const [name, made] of checkpoints) await copyTree(made, join(finished, name));
          await writeResults(finished, request, manifest, prepared, { rows, plans, notes });
        });
      }
      return { rows, plans, notes, tasks: tasks.counts };
    });
  } finally {
    await checkpoint.close();
  }
}

/** The plans alone: nothing is folded, measured or written. */
export async function compressPlans(
  request: CompressRequest,
  run: Run,
): Promise<{ readonly plans: readonly MergePlan[]; readonly architecture: Architecture }> {
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  try {
    const inputs = await readInputs(request, checkpoint, tokenizer, run);
    return await withTasks(undefined, run, async (tasks) => {
      const prepared = await prepare(
        { ...request, out: undefined },
        checkpoint,
        tokenizer,
        inputs,
        tasks,
        run,
      );
      return { plans: await plansOf(request, prepared), architecture: checkpoint.architecture };
    });
  } finally {
    await checkpoint.close();
  }
}

/** A fold and its quantised copies for every number of layers, and controls that go. */
function spaceNeed(
  { layers, out }: CompressRequest,
  checkpoint: Checkpoint,
  { schemes }: Pick<Inputs, "schemes">,
): SpaceNeed {
  const expected = expectedBytes(checkpoint);
  const folds = layers.map(expected.fold);
  const dense = checkpoint.architecture.blocks.length;
  const copies = [dense, ...layers].flatMap((count) =>
    schemes.map((scheme) => expected.quantized(count, scheme)),
  );
  const stay = out !== undefined || schemes.length > 0;
  return { kept: [...(stay ? folds : []), ...copies], passing: folds };
}

function rulesOf(request: CompressRequest) {
  const { model, calibration, calibrationQuestions, evaluate = [], questions, tasks = [], preset } = request;
  const planFile = isPlanFile(preset.planner.id) ? preset.planner.id : undefined;
  const texts = [calibration, calibrationQuestions, ...evaluate, questions, ...tasks];
  return { force: request.force, inputs: inputPaths({ models: [model], texts, files: [planFile] }) };
}

/** What a run is made of, but for the calibration text, which the model may have to make up. */
interface Inputs extends PresetParts {
  readonly schemes: readonly QuantizationScheme[];
  readonly evaluationSet: EvaluationSet;
  readonly answers?: WeighedAnswers;
}

interface Prepared extends Inputs {
  readonly bench: Workbench;
  /** For the report, whether or not the planner looks at it. */
  readonly similarity?: Matrix;
  readonly notes: readonly string[];
}

function recallWeightOf({ recallWeight, preset }: CompressRequest): number | undefined {
  return recallWeight ?? preset.recallWeight;
}

function evaluationOf(request: CompressRequest): EvaluationRequest {
  const { evaluate, questions, tasks, window, stride, maxTokens } = request;
  return { texts: evaluate, questions, tasks, window, stride, maxTokens };
}

/** Reads every input, so that a bad one is found before the first long computation. */
async function readInputs(
  request: CompressRequest,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  run: Run,
): Promise<Inputs> {
  const { preset, calibration } = request;
  const layerCount = checkpoint.architecture.blocks.length;
  for (const target of request.layers) checkTarget({ layerCount }, target, "--layers");
  const parts = await presetParts(preset, run);
  const schemes = (request.quantizations ?? []).map((name) =>
    makeScheme(name, checkpoint, request.embeddingBits && "compressed-tensors", run.settings.of("quantizer")),
  );
  run.settings.assertUsed();
  if (parts.repair) {
    const layers = await layerFacts(checkpoint);
    for (const target of request.layers) {
      const compatible = (a: number, b: number) => compatibleLayers(checkpoint.architecture, a, b);
      // A plan in a file is known already.
      const given = isPlanFile(preset.planner.id)
        ? await parts.planner.plan({ layerCount, compatible }, target, run.ctx)
        : undefined;
      checkRepair(parts.repair, layers, given?.groups, repairChoices(parts.repair, { methods: true }));
    }
  }
  const calibrated = calibration !== undefined;
  for (const scheme of schemes) checkQuantizable(checkpoint, { scheme, calibrated });
  const context = checkpoint.architecture.maxPositionEmbeddings;
  const evaluationSet = await readEvaluationSet(evaluationOf(request), context, tokenizer, run);
  const answers = request.calibrationQuestions
    ? await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run)
    : undefined;
  if ((parts.planner.needs.length > 0 || parts.repair) && !calibrated) {
    throw new LayerfoldError("CALIBRATION_MISSING", `the method ${preset.id} needs a calibration text`, {
      wanted: "--calibration FILE",
    });
  }
  return { ...parts, schemes, evaluationSet, answers };
}

/** Of the calibration text, where only the report looks at what the layers do to it: the estimators' time grows with the samples' square. */
const picturedTokens = 16_384;

/** Reads the calibration text, and makes the report's picture of the layers. */
async function prepare(
  request: CompressRequest,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  inputs: Inputs,
  tasks: TaskRunner,
  run: Run,
): Promise<Prepared> {
  const { planner, comparison, evaluationSet } = inputs;
  const { bench, separated } = await openWorkbench(request, { checkpoint, tokenizer, ...inputs }, tasks, run);
  const { calibration } = bench;
  const notes: string[] = [];
  const warn = (code: string, message: string) => {
    notes.push(message);
    run.ctx.report?.({ type: "diagnostic", severity: "warning", code, message });
  };
  if (calibration) notes.push(`Calibration saw ${describeCalibration(calibration)}.`);
  if (request.calibrationQuestions)
    notes.push(`The planner weighed the answers of ${request.calibrationQuestions}.`);
  if (!evaluationSet.texts.length && !evaluationSet.questions && !evaluationSet.tasks.length) {
    warn("NOT_MEASURED", "No --evaluate text, no --questions and no --task: quality was not measured.");
  }
  if (separated) {
    notes.push(...separated.excluded);
    for (const message of separated.contaminated) warn("CONTAMINATED", message);
    if (separated.unseen.length > 0) notes.push(`New to it: ${separated.unseen.join(", ")}.`);
  }
  let similarity: Matrix | undefined;
  if (calibration && request.out !== undefined) {
    const { sequences } = calibration;
    const seen = seesActivations(planner) ? sequences : spreadSequences(sequences, picturedTokens);
    const picture = runTask(tasks, similarityOf(captureOf(bench, seen), comparison, run));
    similarity = await picture.then(matrixOf).catch((error) => {
      if (planner.needs.includes("similarity") || !isLayerfoldError(error) || error.fault !== "input")
        throw error;
      warn("NOT_PICTURED", `The report has no picture of the layers' similarity: ${error.message}.`);
      return undefined;
    });
  }
  return { ...inputs, bench, similarity, notes };
}

async function plansOf(request: CompressRequest, prepared: Prepared): Promise<MergePlan[]> {
  const { bench } = prepared;
  const layerCount = bench.checkpoint.architecture.blocks.length;
  const plans: MergePlan[] = [];
  for (const target of request.layers) {
    bench.run.ctx.report?.({
      type: "status",
      message: `${request.preset.id}: ${layerCount} → ${target} layers`,
    });
    plans.push(await planOf(bench, prepared, target, recallWeightOf(request)));
  }
  return plans;
}

/** A checkpoint that lies ready to be measured, or one that is made for it; without a plan the dense one. */
interface Candidate {
  readonly id: string;
  readonly label: string;
  readonly method: string;
  readonly strategy: string | null;
  readonly repair: string | null;
  readonly control: string | null;
  readonly planner: string | null;
  readonly quantization: string | null;
  readonly plan?: MergePlan;
  readonly parameterRatio: number;
  readonly bytes: number;
  readonly quality: Quality;
}

/** All rows, and the checkpoints that are kept, by their places in OUT. */
async function rowsOf(
  request: CompressRequest,
  prepared: Prepared,
  plans: readonly MergePlan[],
): Promise<{
  readonly rows: readonly ResultRow[];
  readonly checkpoints: ReadonlyMap<string, string>;
  readonly sizes: readonly string[];
}> {
  const { bench, planner, strategy, repair } = prepared;
  const { checkpoint, model, evaluationSet, tasks } = bench;
  const { preset } = request;
  const sizes: string[] = [];
  const checkpoints = new Map<string, string>();
  const candidates: Candidate[] = [];

  /** The model as each scheme quantises it. */
  const quantized = async (of: Candidate, source: ModelInput, place: string) => {
    for (const scheme of prepared.schemes) {
      const made = await runTask(tasks, quantizationOf(request, prepared, scheme, source));
      if (request.out !== undefined && of.plan) checkpoints.set(join(place, scheme.name), made.directory);
      const task = quantizationOf(request, prepared, scheme, source);
      candidates.push({
        ...of,
        id: `${of.id}-${scheme.name}`,
        label: `  then ${scheme.name}`,
        method: `${of.method} + ${scheme.name}`,
        quantization: scheme.name,
        bytes: made.tensorBytes,
        quality: await measureModel(task, evaluationSet, model, tasks),
      });
    }
  };

  const dense: Candidate = {
    id: "dense",
    label: "dense",
    method: "dense",
    planner: null,
    strategy: null,
    repair: null,
    control: null,
    quantization: null,
    parameterRatio: 0,
    bytes: Array.from(checkpoint.tensors.values()).reduce((sum, { byteLength }) => sum + byteLength, 0),
    quality: await measureModel(model, evaluationSet, undefined, tasks),
  };
  candidates.push(dense);
  await quantized(dense, model, "");
  for (const [index, plan] of plans.entries()) {
    const target = request.layers[index];
    const id = `${preset.id}-${target}`;
    const place = request.layers.length === 1 ? "" : `layers-${target}`;
    const named = { planner: planner.id, method: preset.id, quantization: null, plan };
    const calibration = await sizedFor(request, prepared, plan, sizes);
    const fold = { plan, strategy, repair, calibration };
    const keep = request.out !== undefined || prepared.schemes.length > 0;
    const { facts, quality } = await measuredFold(bench, fold, keep);
    const folded: Candidate = {
      ...named,
      id,
      label: `${preset.id}, ${target} layers`,
      strategy: strategy.id,
      repair: repair?.id ?? null,
      control: null,
      parameterRatio: facts.parameter_ratio,
      bytes: facts.tensor_bytes,
      quality,
    };
    candidates.push(folded);
    const task = foldOf(bench, fold);
    if (request.out !== undefined) checkpoints.set(place, (await runTask(tasks, task)).directory);
    await quantized(folded, task, place);
    const control = await measuredFold(bench, { plan: dropControl(plan), strategy: drop() }, false);
    candidates.push({
      ...named,
      id: `${id}-control`,
      label: "  merely dropped",
      strategy: "drop",
      repair: null,
      control: id,
      parameterRatio: control.facts.parameter_ratio,
      bytes: control.facts.tensor_bytes,
      quality: control.quality,
    });
  }
  const layerCount = checkpoint.architecture.blocks.length;
  return { rows: candidates.map((candidate) => rowOf(candidate, dense, layerCount)), checkpoints, sizes };
}

/** The calibration that a fold's repair sees. */
async function sizedFor(
  request: CompressRequest,
  { bench, strategy, repair }: Prepared,
  plan: MergePlan,
  sizes: string[],
): Promise<Workbench["calibration"]> {
  const { calibration, model, tasks, run } = bench;
  if (request.calibrationTokens !== "auto" || !repair || !calibration) return calibration;
  const fold = { plan, strategy, repair };
  const found = await sizedCalibration(model, fold, calibration, { tasks, seed: run.seed });
  sizes.push(`${plan.groups.length} layers, ${describeTrials(found)}`);
  run.ctx.report?.({ type: "status", message: describeTrials(found) });
  return found.calibration;
}

function quantizationOf(
  { embeddingBits }: CompressRequest,
  { bench }: Prepared,
  scheme: QuantizationScheme,
  model: ModelInput,
) {
  const { calibration, run } = bench;
  return quantizeTask(
    {
      scheme: scheme.name,
      format: embeddingBits ? "compressed-tensors" : null,
      options: run.settings.of("quantizer"),
      embedding_bits: embeddingBits ?? null,
      overrides: [],
      reused_layers: null,
      seed: run.seed,
    },
    {
      model,
      text: calibration && givenText(calibration.sequences),
      reuse: undefined,
      scales: undefined,
    },
  );
}

function rowOf(candidate: Candidate, dense: Candidate, layerCount: number): ResultRow {
  const { plan, parameterRatio, bytes, quality, ...facts } = candidate;
  const { texts, ...figures } = quality;
  const remaining = plan?.groups.length ?? layerCount;
  return {
    ...facts,
    tensor_bytes: bytes,
    size_ratio: 1 - bytes / dense.bytes,
    removed_layers: plan ? removedLayers(plan) : [],
    num_hidden_layers: remaining,
    layer_ratio: 1 - remaining / layerCount,
    parameter_ratio: parameterRatio,
    ...figures,
    perplexity_ratio:
      figures.perplexity === null
        ? null
        : figures.perplexity / (dense.quality.perplexity ?? figures.perplexity),
    texts: texts.map(({ text, perplexity }, i) => ({
      text,
      perplexity,
      perplexity_ratio: perplexity / dense.quality.texts[i].perplexity,
    })),
  };
}

/** Layers of the dense model that no longer stand alone. */
function removedLayers(plan: MergePlan): number[] {
  return plan.groups.flatMap((group) => {
    const kept = keptLayer(group) ?? group.layers[0];
    return group.layers.filter((layer) => layer !== kept);
  });
}

/** What it takes to repeat the run, and all that its results depend on. */
async function compressManifest(
  request: CompressRequest,
  checkpoint: Checkpoint,
  { bench, planner, strategy, repair, trial, schemes, comparison }: Prepared,
  run: Run,
): Promise<Manifest> {
  const { model, preset, ...given } = request;
  return manifestOf(
    {
      command: "compress",
      arguments: { ...given, method: preset.id, recallWeight: recallWeightOf(request) },
      model: await modelFact(model, checkpoint),
      data: {
        ...(bench.calibration && { calibration: bench.calibration.facts }),
        ...(await answerFacts(request.calibrationQuestions)),
        ...(await evaluationFacts(evaluationOf(request))),
      },
      plugins: [
        ...pluginFacts(planner, strategy, repair),
        ...trialFacts(trial),
        ...pluginFacts(
          ...schemes.flatMap(({ transforms, quantizer }) => [...transforms, quantizer]),
          comparison.measure,
          comparison.embedding,
        ),
      ],
    },
    run,
  );
}

async function writeResults(
  out: string,
  { model, preset, layers }: CompressRequest,
  manifest: Manifest,
  { bench, comparison, similarity }: Prepared,
  { rows, plans, notes }: Pick<CompressResult, "rows" | "plans" | "notes">,
): Promise<void> {
  const single = layers.length === 1;
  for (const plan of plans) {
    await writeJson(join(out, single ? "plan.json" : `plan-${plan.groups.length}.json`), plan);
  }
  if (similarity) await writeJson(join(out, "similarity.json"), similarityFile(similarity, comparison));
  await writeJson(join(out, "results.json"), { rows, notes });
  await writeJson(join(out, "manifest.json"), manifest);
  await writeWholeFile(
    join(out, "report.html"),
    renderReport({
      title: `${preset.id} on ${modelName(model)}`,
      rows,
      similarity: similarity && { measure: comparison.measure.id, matrix: similarity },
      judged: judgedCells(rows),
      plans: plans.map((plan) => ({ label: `${plan.groups.length} layers`, plan })),
      chance: bench.evaluationSet.questions && meanChance(bench.evaluationSet.questions),
      manifest: { ...manifest },
      notes,
    }),
  );
}

function meanChance(questions: readonly Question[]): number {
  return questions.reduce((sum, q) => sum + 1 / q.choices.length, 0) / questions.length;
}
