import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { type Pooling, parsePooling } from "@layerfold/capture";
import {
  type Checkpoint,
  type Question,
  readQuestions,
  type Tokenizer,
  type TokenSequences,
} from "@layerfold/checkpoint";
import {
  type Activations,
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
import { renderReport } from "@layerfold/report";
import { measureQuality, type Quality } from "./evaluation.js";
import { captureCheckpoint, gatherEvidence } from "./evidence.js";
import { foldModel } from "./fold.js";
import { openModel, overlap, readSequences } from "./inputs.js";
import { dataFact, type Manifest, platformFact, pluginFact } from "./manifest.js";
import { refuseOccupied, writeJson, writeWholeFile } from "./outputs.js";
import { makePlugin } from "./registry.js";
import type { ResultRow } from "./results.js";
import type { Run } from "./run.js";
import { type Comparison, makeComparison, similarityFile } from "./similarity.js";
import { version } from "./version.js";

export interface CompressRequest {
  readonly model: string;
  /** Layers that remain, one folded model each. */
  readonly layers: readonly number[];
  readonly preset: Preset;
  readonly calibration?: string;
  readonly evaluate?: string;
  readonly questions?: string;
  readonly window?: number;
  readonly stride?: number;
  /** Of the evaluation text, from its start. */
  readonly maxTokens?: number;
  /** Of the calibration text, spread evenly over it. */
  readonly calibrationTokens?: number;
  readonly pooling?: string;
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
    const { planner, evidence, strategy, repair, calibration } = stage;
    const judgement = { tokenizer, sequences: stage.evaluation, questions: stage.questions };
    const rows: ResultRow[] = [];
    const plans: MergePlan[] = [];
    const layerCount = checkpoint.architecture.blocks.length;

    const measured = async (
      facts: Pick<ResultRow, "id" | "label" | "method" | "planner" | "strategy" | "repair" | "control">,
      fold: () => Promise<{ directory: string; plan?: MergePlan; parameterRatio: number }>,
    ) => {
      const startedAt = performance.now();
      const { directory, plan, parameterRatio } = await fold();
      const quality: Quality = await measureQuality(directory, judgement, plan && reference, run);
      const remaining = plan?.groups.length ?? layerCount;
      rows.push({
        ...facts,
        removed_layers: plan ? removedLayers(plan) : [],
        num_hidden_layers: remaining,
        layer_ratio: 1 - remaining / layerCount,
        parameter_ratio: parameterRatio,
        ...quality,
        perplexity_ratio:
          quality.perplexity === null
            ? null
            : quality.perplexity / (rows[0]?.perplexity ?? quality.perplexity),
        seconds: (performance.now() - startedAt) / 1000,
        peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
      });
    };

    const { preset } = request;
    await measured(
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
    );
    if (stage.evaluation) {
      dense = await openDecoder(checkpoint);
      reference = rememberedLogits(dense, 2 ** 29);
    }

    for (const target of request.layers) {
      run.terminal.say(`${preset.id}: ${layerCount} → ${target} layers`);
      const plan = await planner.plan(evidence, target, run.ctx);
      plans.push(plan);
      const id = `${preset.id}-${target}`;
      const named = { planner: planner.id, method: preset.id };
      await measured(
        {
          ...named,
          id,
          label: `${preset.id}, ${target} layers`,
          strategy: strategy.id,
          repair: repair?.id ?? null,
          control: null,
        },
        async () => {
          const directory = outputDirectory(request, target) ?? join(work, id);
          const { force } = request;
          const { parameterRatio } = await foldModel(
            checkpoint,
            { plan, strategy, repair, calibration, out: directory, force },
            run,
          );
          return { directory, plan, parameterRatio };
        },
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

    const result = { rows, plans, notes: stage.notes };
    if (request.out) await writeResults(request, checkpoint, stage, result, run);
    return result;
  } finally {
    await stage?.close();
    await dense?.close();
    await checkpoint.close();
    await rm(work, { recursive: true, force: true });
  }
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
  readonly comparison: Comparison;
  readonly calibration?: TokenSequences;
  readonly evaluation?: TokenSequences;
  readonly questions?: readonly Question[];
  readonly evidence: Evidence;
  /** Frees what the evidence keeps open. */
  close(): Promise<void>;
  /** For the report, whether or not the planner looks at it. */
  readonly similarity?: Matrix;
  readonly notes: readonly string[];
}

/** Reads every input, so that a bad one is found before the first long computation, and gathers the planner's evidence. */
async function prepare(
  request: CompressRequest,
  checkpoint: Checkpoint,
  tokenizer: Tokenizer,
  run: Run,
): Promise<Stage> {
  const { preset, window, stride } = request;
  const layerCount = checkpoint.architecture.blocks.length;
  for (const target of request.layers) checkTarget({ layerCount }, target, "--layers");
  const planner = await makePlugin<Planner>("planner", preset.planner.id, {
    ...preset.planner.options,
    ...run.settings.of("planner"),
  });
  const strategy = await makePlugin<MergeStrategy>("strategy", preset.strategy.id, {
    ...preset.strategy.options,
    ...run.settings.of("strategy"),
  });
  const repair =
    preset.repair &&
    (await makePlugin<Repair>("repair", preset.repair.id, {
      ...preset.repair.options,
      ...run.settings.of("repair"),
    }));
  const comparison = await makeComparison(preset.measure?.id ?? "npib", preset.embedding?.id, run);
  run.settings.assertUsed();

  const calibration = request.calibration
    ? await readSequences(
        request.calibration,
        checkpoint.architecture.maxPositionEmbeddings,
        tokenizer,
        { window, maxTokens: request.calibrationTokens, spread: true },
        run,
      )
    : undefined;
  const evaluation = request.evaluate
    ? await readSequences(
        request.evaluate,
        checkpoint.architecture.maxPositionEmbeddings,
        tokenizer,
        { window, stride, maxTokens: request.maxTokens },
        run,
      )
    : undefined;
  const questions = request.questions ? await readQuestions(request.questions) : undefined;
  const needsCalibration = planner.needs.length > 0 || repair !== undefined;
  if (needsCalibration && !calibration) {
    throw new LayerfoldError("CALIBRATION_MISSING", `the method ${preset.id} needs a calibration text`, {
      wanted: "--calibration FILE",
    });
  }

  const notes: string[] = [];
  if (!evaluation && !questions)
    notes.push("No --evaluate text and no --questions: quality was not measured.");
  if (calibration && evaluation) {
    const shared = overlap(calibration.documents, evaluation.documents);
    if (shared > 0) {
      notes.push(
        `${(shared * 100).toFixed(1)} % of the evaluation text also stands in the calibration text: these figures flatter the fold.`,
      );
    }
  }
  for (const message of notes)
    run.ctx.report?.({ type: "diagnostic", severity: "warning", code: "TRUST", message });

  const pooling: Pooling = parsePooling(
    request.pooling ?? (calibration?.documents.kind === "stream" ? "every:16" : "last"),
  );
  const activations: Activations | undefined =
    calibration && (await captureCheckpoint(checkpoint, calibration, pooling, run));
  const similarity = activations && (await comparison.compare(activations.layers, run.ctx));
  const { evidence, close } = await gatherEvidence(
    planner,
    { checkpoint, comparison, similarity, activations, calibration, pooling },
    run,
  );
  return {
    planner,
    strategy,
    repair,
    comparison,
    calibration,
    evaluation,
    questions,
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
    data: Object.fromEntries(
      await Promise.all(
        (["calibration", "evaluate", "questions"] as const)
          .filter((use) => request[use])
          .map(async (use) => [use, await dataFact(request[use]!)] as const),
      ),
    ),
    plugins: [
      stage.planner,
      stage.strategy,
      ...(stage.repair ? [stage.repair] : []),
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
      plans: plans.map((plan) => ({ label: `${plan.groups.length} layers`, plan })),
      chance: stage.questions && meanChance(stage.questions),
      manifest: manifest as unknown as Record<string, unknown>,
      notes,
    }),
  );
}

function meanChance(questions: readonly Question[]): number {
  return questions.reduce((sum, q) => sum + 1 / q.choices.length, 0) / questions.length;
}

/** What people call a model: its folder, or the folder above one that is merely called `checkpoint`. */
function modelName(path: string): string {
  const name = basename(resolve(path));
  return name === "checkpoint" ? basename(dirname(resolve(path))) : name;
}
