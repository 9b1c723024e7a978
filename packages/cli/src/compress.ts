import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Pooling, parsePooling } from "@layerfold/capture";
import { type Checkpoint, openCheckpoint, type Question, type Tokenizer } from "@layerfold/checkpoint";
import {
  type Activations,
  type Architecture,
  dropControl,
  type Evidence,
  keptLayer,
  type LanguageModel,
  LayerfoldError,
  type Matrix,
  type MergePlan,
  type MergeStrategy,
  type Planner,
  type Repair,
} from "@layerfold/core";
import { rememberedLogits } from "@layerfold/evaluate";
import { type Decoder, openDecoder } from "@layerfold/graph";
import { checkTarget, drop, type Preset } from "@layerfold/merge";
import { checkQuantizable, type QuantizationScheme } from "@layerfold/quantize";
import { renderReport } from "@layerfold/report";
import { type Calibration, describeCalibration, readAnswers, readCalibration } from "./calibration.js";
import { describeTrials, sizedCalibration } from "./calibration-size.js";
import { measureQuality } from "./evaluation.js";
import { captureCheckpoint, gatherEvidence } from "./evidence.js";
import { foldModel } from "./fold.js";
import { openModel } from "./inputs.js";
import {
  checkOverlap,
  type Judgement,
  type JudgementRequest,
  judgementFacts,
  readJudgement,
} from "./judgement.js";
import { type Manifest, modelName, platformFact, pluginFact, textFact } from "./manifest.js";
import { refuseOccupied, writeJson, writeWholeFile } from "./outputs.js";
import { presetParts } from "./preset-parts.js";
import { makeScheme, quantizeModel } from "./quantize-model.js";
import type { ResultRow } from "./results.js";
import type { Run } from "./run.js";
import { type Comparison, similarityFile } from "./similarity.js";
import { judgedCells } from "./table.js";
import { fileSource } from "./text-source.js";
import { version } from "./version.js";

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

/** The whole way: dense figures, capture, similarity, and for every target a plan, a fold, its drop control, and their figures. */
export async function compress(request: CompressRequest, run: Run): Promise<CompressResult> {
  if (request.out) await refuseOccupied(request.out, request.force);
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  const work = await mkdtemp(join(tmpdir(), "layerfold-"));
  let stage: Stage | undefined;
  let dense: Decoder | undefined;
  let reference: LanguageModel | undefined;
  try {
    stage = await prepare(request, checkpoint, tokenizer, run);
    const { planner, evidence, strategy, repair, schemes, calibration } = stage;
    const { judgement } = stage;
    const rows: ResultRow[] = [];
    const plans: MergePlan[] = [];
    const layerCount = checkpoint.architecture.blocks.length;

    const sizes: string[] = [];
    const sized = async (
      plan: MergePlan,
      fold: { readonly strategy: MergeStrategy; readonly repair: Repair },
      all: Calibration,
    ) => {
      const found = await sizedCalibration(checkpoint, plan, fold, all, run);
      sizes.push(`${plan.groups.length} layers, ${describeTrials(found)}`);
      run.terminal.say(describeTrials(found));
      return found.calibration;
    };

    let denseBytes = 0;
    const measured = async (
      facts: Pick<ResultRow, "id" | "label" | "method" | "planner" | "strategy" | "repair" | "control"> & {
        readonly quantization?: string;
      },
      fold: () => Promise<Measured>,
    ): Promise<Measured> => {
      const startedAt = performance.now();
      const made = await fold();
      const { directory, plan, parameterRatio } = made;
      const { texts, ...quality } = await measureQuality(directory, judgement, rows[0] && reference, run);
      const remaining = plan?.groups.length ?? layerCount;
      const bytes = await tensorBytes(directory);
      denseBytes ||= bytes;
      rows.push({
        ...facts,
        quantization: facts.quantization ?? null,
        tensor_bytes: bytes,
        size_ratio: 1 - bytes / denseBytes,
        removed_layers: plan ? removedLayers(plan) : [],
        num_hidden_layers: remaining,
        layer_ratio: 1 - remaining / layerCount,
        parameter_ratio: parameterRatio,
        ...quality,
        perplexity_ratio:
          quality.perplexity === null
            ? null
            : quality.perplexity / (rows[0]?.perplexity ?? quality.perplexity),
        texts: texts.map(({ text, perplexity }, i) => ({
          text,
          perplexity,
          perplexity_ratio: perplexity / (rows[0]?.texts?.[i].perplexity ?? perplexity),
        })),
        seconds: (performance.now() - startedAt) / 1000,
        peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
      });
      return made;
    };

    /** A row, and one for each scheme by which the model is quantised then. */
    const measuredAndQuantized = async (
      facts: Parameters<typeof measured>[0],
      fold: () => Promise<Measured>,
      quantizedUnder: string,
    ) => {
      const made = await measured(facts, fold);
      if (schemes.length === 0) return;
      const model = await openCheckpoint(made.directory);
      try {
        for (const scheme of schemes) {
          run.terminal.say(`${facts.label}, then ${scheme.name}`);
          const quantized = {
            ...facts,
            id: `${facts.id}-${scheme.name}`,
            label: `  then ${scheme.name}`,
            method: `${facts.method} + ${scheme.name}`,
            quantization: scheme.name,
          };
          await measured(quantized, async () => {
            const out = join(quantizedUnder, scheme.name);
            const { embeddingBits, force } = request;
            await quantizeModel(model, { scheme, embeddingBits, calibration, out, force }, run);
            return { ...made, directory: out };
          });
        }
      } finally {
        await model.close();
      }
    };

    if (judgement.texts.length > 0) {
      dense = await openDecoder(checkpoint);
      reference = rememberedLogits(dense, 2 ** 29);
    }
    const { preset } = request;
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
      async () => ({ directory: checkpoint.directory, parameterRatio: 0 }),
      join(work, "dense"),
    );

    for (const target of request.layers) {
      run.terminal.say(`${preset.id}: ${layerCount} → ${target} layers`);
      const plan = await planner.plan(evidence, target, run.ctx);
      plans.push(plan);
      const id = `${preset.id}-${target}`;
      const named = { planner: planner.id, method: preset.id };
      const directory = outputDirectory(request, target) ?? join(work, id);
      await measuredAndQuantized(
        {
          ...named,
          id,
          label: `${preset.id}, ${target} layers`,
          strategy: strategy.id,
          repair: repair?.id ?? null,
          control: null,
        },
        async () => {
          const { force } = request;
          const fitted =
            request.calibrationTokens === "auto" && repair && calibration
              ? await sized(plan, { strategy, repair }, calibration)
              : calibration;
          const { parameterRatio } = await foldModel(
            checkpoint,
            { plan, strategy, repair, calibration: fitted, out: directory, force },
            run,
          );
          return { directory, plan, parameterRatio };
        },
        directory,
      );
      await measured(
        {
          ...named,
          id: `${id}-control`,
          label: "  merely dropped",
          strategy: "drop",
          repair: null,
          control: id,
        },
        async () => {
          const directory = join(work, `${id}-control`);
          const control = dropControl(plan);
          const { parameterRatio } = await foldModel(
            checkpoint,
            { plan: control, strategy: drop(), out: directory },
            run,
          );
          return { directory, plan: control, parameterRatio };
        },
      );
      await rm(join(work, `${id}-control`), { recursive: true });
    }

    const result = { rows, plans, notes: [...stage.notes, ...sizes] };
    if (request.out) await writeResults(request, checkpoint, stage, result, run);
    return result;
  } finally {
    await stage?.close();
    await dense?.close();
    await checkpoint.close();
    await rm(work, { recursive: true, force: true });
  }
}

/** The plans alone: nothing is folded, measured or written. */
export async function compressPlans(
  request: CompressRequest,
  run: Run,
): Promise<{ readonly plans: readonly MergePlan[]; readonly architecture: Architecture }> {
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  try {
    const { planner, evidence, close } = await prepare(
      { ...request, out: undefined },
      checkpoint,
      tokenizer,
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

function outputDirectory({ out, layers }: CompressRequest, target: number): string | undefined {
  if (!out) return undefined;
  return layers.length === 1 ? out : join(out, `layers-${target}`);
}

interface Stage {
  readonly planner: Planner;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
  readonly schemes: readonly QuantizationScheme[];
  readonly comparison: Comparison;
  readonly calibration?: Calibration;
  readonly judgement: Judgement;
  readonly evidence: Evidence;
  /** Frees what the evidence keeps open. */
  close(): Promise<void>;
  /** For the report, whether or not the planner looks at it. */
  readonly similarity?: Matrix;
  readonly notes: readonly string[];
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

/** Reads every input, so that a bad one is found before the first long computation, and gathers the planner's evidence. */
async function prepare(
  request: CompressRequest,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  run: Run,
): Promise<Stage> {
  const { preset } = request;
  const layerCount = checkpoint.architecture.blocks.length;
  for (const target of request.layers) checkTarget({ layerCount }, target, "--layers");
  const { planner, strategy, repair, comparison } = await presetParts(preset, run);
  const schemes = (request.quantizations ?? []).map((name) =>
    makeScheme(name, checkpoint, request.embeddingBits && "compressed-tensors", run),
  );
  run.settings.assertUsed();
  const calibrated = request.calibration !== undefined;
  for (const scheme of schemes) checkQuantizable(checkpoint, { scheme, calibrated });

  const calibration = request.calibration
    ? await readCalibration(request.calibration, { checkpoint, tokenizer }, request, run)
    : undefined;
  const context = checkpoint.architecture.maxPositionEmbeddings;
  const judgement = await readJudgement(judgementOf(request), context, tokenizer, run);
  const answers = request.calibrationQuestions
    ? await readAnswers(request.calibrationQuestions, tokenizer, request.questionWeight)
    : undefined;
  const needsCalibration = planner.needs.length > 0 || repair !== undefined;
  if (needsCalibration && !calibration) {
    throw new LayerfoldError("CALIBRATION_MISSING", `the method ${preset.id} needs a calibration text`, {
      wanted: "--calibration FILE",
    });
  }

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
  if (calibration) {
    const { flattered, fresh } = checkOverlap(calibration, judgement, request.allowOverlap ?? false);
    for (const message of flattered) warn(message);
    if (fresh.length > 0) notes.push(`New to it: ${fresh.join(", ")}.`);
  }

  const pooling: Pooling = parsePooling(request.pooling ?? (calibration?.hasStream ? "every:16" : "last"));
  // The report shows the similarity of the layers, whether or not the planner looks at it.
  const activations: Activations | undefined =
    calibration && request.out !== undefined
      ? await captureCheckpoint(checkpoint, calibration, pooling, run)
      : undefined;
  const similarity = activations && (await comparison.compare(activations.layers, run.ctx));
  const { evidence, close } = await gatherEvidence(
    planner,
    {
      checkpoint,
      comparison,
      similarity,
      activations,
      planningTokens: request.planningTokens,
      calibration,
      answers,
      pooling,
      fold: { strategy, repair },
    },
    run,
  );
  return {
    planner,
    strategy,
    repair,
    schemes,
    comparison,
    calibration,
    judgement,
    evidence,
    close,
    similarity,
    notes,
  };
}

async function writeResults(
  request: CompressRequest,
  checkpoint: Checkpoint,
  stage: Stage,
  { rows, plans, notes }: CompressResult,
  run: Run,
): Promise<void> {
  const out = request.out!;
  const { model, preset, out: _, force: __, ...given } = request;
  const manifest: Manifest = {
    layerfold: version,
    command: "compress",
    arguments: { ...given, method: preset.id },
    seed: run.seed,
    model: { name: modelName(model), sha256: await checkpoint.fingerprint() },
    data: {
      ...(stage.calibration && { calibration: stage.calibration.facts }),
      ...(request.calibrationQuestions && {
        calibrationQuestions: await textFact(fileSource(request.calibrationQuestions)),
      }),
      ...(await judgementFacts(judgementOf(request))),
    },
    plugins: [
      stage.planner,
      stage.strategy,
      ...(stage.repair ? [stage.repair] : []),
      ...stage.schemes.flatMap(({ transforms, quantizer }) => [...transforms, quantizer]),
      stage.comparison.measure,
      stage.comparison.embedding,
    ].map(pluginFact),
    platform: platformFact(),
  };
  const single = request.layers.length === 1;
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
      manifest: manifest as unknown as Record<string, unknown>,
      notes,
    }),
  );
}

function meanChance(questions: readonly Question[]): number {
  return questions.reduce((sum, q) => sum + 1 / q.choices.length, 0) / questions.length;
}
