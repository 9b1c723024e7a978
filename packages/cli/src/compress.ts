import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Pooling, parsePooling } from "@layerfold/capture";
import { type Checkpoint, openCheckpoint, type Question, type Tokenizer } from "@layerfold/checkpoint";
import {
  type Activations,
  type Architecture,
  dropControl,
  type Evidence,
  isLayerfoldError,
  keptLayer,
  type LanguageModel,
  LayerfoldError,
  type Matrix,
  type MergePlan,
} from "@layerfold/core";
import { checkOutputFolder, putFolder, writeWholeFile } from "@layerfold/disk";
import { rememberedLogits } from "@layerfold/evaluate";
import { type Decoder, openDecoder } from "@layerfold/graph";
import { checkRepair, checkTarget, compatibleLayers, drop, layerFacts, type Preset } from "@layerfold/merge";
import { checkQuantizable, type QuantizationScheme } from "@layerfold/quantize";
import { renderReport } from "@layerfold/report";
import {
  answerFacts,
  type Calibration,
  calibrationSources,
  describeCalibration,
  knownCalibration,
  readAnswers,
} from "./calibration.js";
import { describeTrials, sizedCalibration } from "./calibration-size.js";
import { measureQuality } from "./evaluation.js";
import {
  captureCheckpoint,
  gatherEvidence,
  seesActivations,
  spreadSequences,
  type WeighedAnswers,
} from "./evidence.js";
import { type Fold, foldModel } from "./fold.js";
import { openModel } from "./inputs.js";
import {
  holdApart,
  type Judgement,
  type JudgementRequest,
  judgementFacts,
  readJudgement,
} from "./judgement.js";
import { type Manifest, manifestOf, modelFact, modelName } from "./manifest.js";
import { inputPaths, writeJson } from "./outputs.js";
import { isPlanFile } from "./plan-file.js";
import { type PresetParts, presetParts, trialFacts } from "./preset-parts.js";
import { makeScheme, quantizeModel } from "./quantize-model.js";
import { pluginFacts } from "./registry.js";
import { repairChoices } from "./repair-choices.js";
import type { ResultRow } from "./results.js";
import type { Run } from "./run.js";
import { similarityFile } from "./similarity.js";
import { judgedCells } from "./table.js";
import { resumable, type Workplace } from "./unfinished.js";

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
}

/**
 * The whole way: dense figures, capture, similarity, and for every target a plan, a fold, its drop control, and their figures. All of it is
 * done in `OUT.unfinished`, from where an interrupted run goes on; OUT stands in the end, whole.
 */
export async function compress(request: CompressRequest, run: Run): Promise<CompressResult> {
  const { out } = request;
  if (out !== undefined) {
    const {
      model,
      calibration,
      calibrationQuestions,
      evaluate = [],
      questions,
      tasks = [],
      preset,
    } = request;
    const planFile = preset.planner.id.endsWith(".json") ? preset.planner.id : undefined;
    const texts = [calibration, calibrationQuestions, ...evaluate, questions, ...tasks];
    const inputs = inputPaths({ models: [model], texts, files: [planFile] });
    await checkOutputFolder(out, { force: request.force, inputs });
  }
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  try {
    const inputs = await readInputs(request, checkpoint, tokenizer, run);
    const manifest = out === undefined ? undefined : await compressManifest(request, checkpoint, inputs, run);
    return await resumable(
      out,
      manifest,
      async (place) => {
        const stage = await gather(request, checkpoint, inputs, place, run);
        try {
          const result = await foldAndMeasure(request, checkpoint, stage, place, run);
          if (out !== undefined && manifest) {
            const calibration = stage.calibration?.facts;
            const data = { ...manifest.data, ...(calibration && { calibration }) };
            const finished = resultFolder(place.folder);
            await writeResults(finished, request, { ...manifest, data }, stage, result);
            await putFolder(out, finished, { force: request.force });
          }
          return result;
        } finally {
          await stage.close();
        }
      },
      run,
    );
  } finally {
    await checkpoint.close();
  }
}

/** What becomes OUT. */
function resultFolder(folder: string): string {
  return join(folder, "result");
}

async function foldAndMeasure(
  request: CompressRequest,
  checkpoint: Checkpoint,
  stage: Stage,
  { folder, known, resumed }: Workplace,
  run: Run,
): Promise<CompressResult> {
  const { planner, evidence, strategy, repair, schemes, calibration, judgement } = stage;
  const { preset } = request;
  const layerCount = checkpoint.architecture.blocks.length;
  const rows: ResultRow[] = [];
  const plans: MergePlan[] = [];
  const sizes: string[] = [];
  let dense: Decoder | undefined;
  let reference: LanguageModel | undefined;

  /** The calibration that a fold's repair sees. */
  const fitted = async (plan: MergePlan) => {
    if (request.calibrationTokens !== "auto" || !repair || !calibration) return calibration;
    const found = await known(["size", plan.groups.length], () =>
      sizedCalibration(checkpoint, plan, { strategy, repair }, calibration, run),
    );
    sizes.push(`${plan.groups.length} layers, ${describeTrials(found)}`);
    run.terminal.say(describeTrials(found));
    return found.calibration;
  };

  /** Folds, unless that is done. */
  const folded = async (id: string, fold: Fold): Promise<Measured> => {
    const { parameterRatio, seconds } = await known(["fold", id], async () => {
      const startedAt = performance.now();
      const unfinished = join(folder, `blocks-${id}`);
      // A folder that stands is of a run that was killed before it could say so.
      const { parameterRatio } = await foldModel(checkpoint, { ...fold, unfinished, force: true }, run);
      await rm(unfinished, { recursive: true, force: true });
      return { parameterRatio, seconds: (performance.now() - startedAt) / 1000 };
    });
    return { directory: fold.out, plan: fold.plan, parameterRatio, seconds };
  };

  const measured = async (
    facts: Pick<ResultRow, "id" | "label" | "method" | "planner" | "strategy" | "repair" | "control"> & {
      readonly quantization?: string;
    },
    { directory, plan, parameterRatio, seconds }: Measured,
  ) => {
    const { bytes, quality, measuring } = await known(["row", facts.id], async () => {
      const startedAt = performance.now();
      const quality = await measureQuality(directory, judgement, rows[0] && reference, run);
      const measuring = (performance.now() - startedAt) / 1000;
      return { bytes: await tensorBytes(directory), quality, measuring };
    });
    const { texts, ...figures } = quality;
    const remaining = plan?.groups.length ?? layerCount;
    rows.push({
      ...facts,
      quantization: facts.quantization ?? null,
      tensor_bytes: bytes,
      size_ratio: 1 - bytes / (rows[0]?.tensor_bytes ?? bytes),
      removed_layers: plan ? removedLayers(plan) : [],
      num_hidden_layers: remaining,
      layer_ratio: 1 - remaining / layerCount,
      parameter_ratio: parameterRatio,
      ...figures,
      perplexity_ratio:
        figures.perplexity === null ? null : figures.perplexity / (rows[0]?.perplexity ?? figures.perplexity),
      texts: texts.map(({ text, perplexity }, i) => ({
        text,
        perplexity,
        perplexity_ratio: perplexity / (rows[0]?.texts?.[i].perplexity ?? perplexity),
      })),
      seconds: seconds + measuring,
      peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
    });
  };

  /** A row, and one for each scheme by which the model is quantised then. */
  const measuredAndQuantized = async (
    facts: Parameters<typeof measured>[0],
    made: Measured,
    quantizedUnder: string,
  ) => {
    await measured(facts, made);
    if (schemes.length === 0) return;
    const model = await openCheckpoint(made.directory);
    try {
      for (const scheme of schemes) {
        run.terminal.say(`${facts.label}, then ${scheme.name}`);
        const id = `${facts.id}-${scheme.name}`;
        const directory = join(quantizedUnder, scheme.name);
        const seconds = await known(["quantized", id], async () => {
          const startedAt = performance.now();
          const { embeddingBits } = request;
          const unfinished = join(folder, `codes-${id}`);
          await quantizeModel(
            model,
            { scheme, embeddingBits, calibration, out: directory, force: true, unfinished },
            run,
          );
          await rm(unfinished, { recursive: true, force: true });
          return (performance.now() - startedAt) / 1000;
        });
        await measured(
          {
            ...facts,
            id,
            label: `  then ${scheme.name}`,
            method: `${facts.method} + ${scheme.name}`,
            quantization: scheme.name,
          },
          { ...made, directory, seconds },
        );
      }
    } finally {
      await model.close();
    }
  };

  try {
    if (judgement.texts.length > 0) {
      dense = await openDecoder(checkpoint);
      reference = rememberedLogits(dense, 2 ** 29);
    }
    await measuredAndQuantized(
      {
        id: "dense",
        label: "dense",
        method: "dense",
        planner: null,
        strategy: null,
        repair: null,
        control: null,
      },
      { directory: checkpoint.directory, parameterRatio: 0, seconds: 0 },
      join(folder, "dense"),
    );
    for (const target of request.layers) {
      run.terminal.say(`${preset.id}: ${layerCount} → ${target} layers`);
      const plan = await planner.plan(evidence, target, run.ctx);
      plans.push(plan);
      const id = `${preset.id}-${target}`;
      const named = { planner: planner.id, method: preset.id };
      const directory = join(resultFolder(folder), request.layers.length === 1 ? "" : `layers-${target}`);
      await measuredAndQuantized(
        {
          ...named,
          id,
          label: `${preset.id}, ${target} layers`,
          strategy: strategy.id,
          repair: repair?.id ?? null,
          control: null,
        },
        await folded(id, { plan, strategy, repair, calibration: await fitted(plan), out: directory }),
        directory,
      );
      const control = join(folder, "control");
      await measured(
        {
          ...named,
          id: `${id}-control`,
          label: "  merely dropped",
          strategy: "drop",
          repair: null,
          control: id,
        },
        await folded(`${id}-control`, { plan: dropControl(plan), strategy: drop(), out: control }),
      );
      await rm(control, { recursive: true, force: true });
    }
    const broken = resumed
      ? ["A run was broken off and gone on with: seconds count what the last try took."]
      : [];
    return { rows, plans, notes: [...stage.notes, ...sizes, ...broken] };
  } finally {
    await dense?.close();
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
    const { planner, evidence, close } = await gather(
      { ...request, out: undefined },
      checkpoint,
      inputs,
      { known: (_, make) => make() },
      run,
    );
    try {
      const plans: MergePlan[] = [];
      for (const target of request.layers) plans.push(await planner.plan(evidence, target, run.ctx));
      return { plans, architecture: checkpoint.architecture };
    } finally {
      await close();
    }
  } finally {
    await checkpoint.close();
  }
}

/** A checkpoint that lies ready to be measured; without a plan the dense one. */
interface Measured {
  readonly directory: string;
  readonly plan?: MergePlan;
  readonly parameterRatio: number;
  /** That it took to make. */
  readonly seconds: number;
}

/** Bytes of a checkpoint's tensors on disk. */
async function tensorBytes(directory: string): Promise<number> {
  const { tensors, close } = await openCheckpoint(directory);
  await close();
  return Array.from(tensors.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
}

/** Layers of the dense model that no longer stand alone. */
function removedLayers(plan: MergePlan): number[] {
  return plan.groups.flatMap((group) => {
    const place = keptLayer(group) ?? group.layers[0];
    return group.layers.filter((layer) => layer !== place);
  });
}

/** What a run is made of, but for the calibration text, which the model may have to make up. */
interface Inputs extends PresetParts {
  readonly schemes: readonly QuantizationScheme[];
  readonly judgement: Judgement;
  readonly answers?: WeighedAnswers;
}

interface Stage extends Inputs {
  readonly calibration?: Calibration;
  readonly evidence: Evidence;
  /** Frees what the evidence keeps open. */
  close(): Promise<void>;
  /** For the report, whether or not the planner looks at it. */
  readonly similarity?: Matrix;
  readonly notes: readonly string[];
}

function recallWeightOf({ recallWeight, preset }: CompressRequest): number | undefined {
  return recallWeight ?? preset.recallWeight;
}

function judgementOf({
  evaluate,
  questions,
  tasks,
  window,
  stride,
  maxTokens,
}: CompressRequest): JudgementRequest {
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
    makeScheme(name, checkpoint, request.embeddingBits && "compressed-tensors", run),
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
  const judgement = await readJudgement(judgementOf(request), context, tokenizer, run);
  const answers = request.calibrationQuestions
    ? await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run)
    : undefined;
  if ((parts.planner.needs.length > 0 || parts.repair) && !calibrated) {
    throw new LayerfoldError("CALIBRATION_MISSING", `the method ${preset.id} needs a calibration text`, {
      wanted: "--calibration FILE",
    });
  }
  return { ...parts, schemes, judgement, answers };
}

/** Of the calibration text, where only the report looks at what the layers do to it: the estimators' time grows with the samples' square. */
const picturedTokens = 16_384;

/** Reads the calibration text and gathers the planner's evidence. */
async function gather(
  request: CompressRequest,
  checkpoint: Checkpoint,
  inputs: Inputs,
  { known }: Pick<Workplace, "known">,
  run: Run,
): Promise<Stage> {
  const { planner, comparison, strategy, repair, trial = repair, judgement, answers } = inputs;
  const { tokenizer } = judgement;
  const held =
    request.calibration === undefined
      ? undefined
      : holdApart(
          await knownCalibration(request.calibration, { checkpoint, tokenizer }, request, known, run),
          judgement,
          request.allowOverlap ?? false,
        );
  const calibration = held?.calibration;
  const notes: string[] = [];
  const warn = (message: string) => {
    notes.push(message);
    run.ctx.report?.({ type: "diagnostic", severity: "warning", code: "TRUST", message });
  };
  if (calibration) notes.push(`Calibration saw ${describeCalibration(calibration)}.`);
  if (request.calibrationQuestions)
    notes.push(`The planner weighed the answers of ${request.calibrationQuestions}.`);
  if (!judgement.texts.length && !judgement.questions && !judgement.tasks.length) {
    warn("No --evaluate text, no --questions and no --task: quality was not measured.");
  }
  if (held) {
    notes.push(...held.leftOut);
    for (const message of held.flattered) warn(message);
    if (held.fresh.length > 0) notes.push(`New to it: ${held.fresh.join(", ")}.`);
  }

  const pooling: Pooling = parsePooling(request.pooling ?? (calibration?.hasStream ? "every:16" : "last"));
  // The report shows the similarity of the layers, whether or not the planner looks at it.
  const seen =
    calibration &&
    (seesActivations(planner) ? calibration.sequences : spreadSequences(calibration, picturedTokens));
  const activations: Activations | undefined =
    seen && request.out !== undefined ? await captureCheckpoint(checkpoint, seen, pooling, run) : undefined;
  const similarity =
    activations &&
    (await comparison.compare(activations.layers, run.ctx).catch((error) => {
      if (planner.needs.includes("similarity") || !isLayerfoldError(error) || error.code === "INTERRUPTED")
        throw error;
      warn(`The report has no picture of the layers' similarity: ${error.message}.`);
      return undefined;
    }));
  const { evidence, close } = await gatherEvidence(
    planner,
    {
      checkpoint,
      comparison,
      similarity,
      activations,
      planningTokens: request.planningTokens,
      recallWeight: recallWeightOf(request),
      calibration,
      answers,
      pooling,
      fold: { strategy, repair: trial },
      known,
    },
    run,
  );
  return { ...inputs, calibration, evidence, close, similarity, notes };
}

/** What it takes to repeat the run, and all that its results depend on. */
async function compressManifest(
  request: CompressRequest,
  checkpoint: Checkpoint,
  { planner, strategy, repair, trial, schemes, comparison }: Inputs,
  run: Run,
): Promise<Manifest> {
  const { model, preset, ...given } = request;
  const { calibration } = request;
  return manifestOf(
    {
      command: "compress",
      arguments: { ...given, method: preset.id, recallWeight: recallWeightOf(request) },
      model: await modelFact(model, checkpoint),
      data: {
        ...(calibration && { calibration: await calibrationSources(calibration) }),
        ...(await answerFacts(request.calibrationQuestions)),
        ...(await judgementFacts(judgementOf(request))),
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
  stage: Stage,
  { rows, plans, notes }: CompressResult,
): Promise<void> {
  const single = layers.length === 1;
  for (const plan of plans) {
    await writeJson(join(out, single ? "plan.json" : `plan-${plan.groups.length}.json`), plan);
  }
  if (stage.similarity)
    await writeJson(join(out, "similarity.json"), similarityFile(stage.similarity, stage.comparison));
  await writeJson(join(out, "results.json"), { rows, notes });
  await writeJson(join(out, "manifest.json"), manifest);
  await writeWholeFile(
    join(out, "report.html"),
    renderReport({
      title: `${preset.id} on ${modelName(model)}`,
      rows,
      similarity: stage.similarity && { measure: stage.comparison.measure.id, matrix: stage.similarity },
      judged: judgedCells(rows),
      plans: plans.map((plan) => ({ label: `${plan.groups.length} layers`, plan })),
      chance: stage.judgement.questions && meanChance(stage.judgement.questions),
      manifest: { ...manifest },
      notes,
    }),
  );
}

function meanChance(questions: readonly Question[]): number {
  return questions.reduce((sum, q) => sum + 1 / q.choices.length, 0) / questions.length;
}
