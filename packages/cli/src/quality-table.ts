import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parsePooling } from "@layerfold/capture";
import type { Checkpoint } from "@layerfold/checkpoint";
import {
  type Activations,
  dropControl,
  keptLayer,
  type LanguageModel,
  type MergePlan,
  type MergeStrategy,
  type PlanGroup,
  type Plugin,
  type Repair,
} from "@layerfold/core";
import { scratchFolder, writeWholeFile } from "@layerfold/disk";
import { type PairedDifference, pairedDifference, rememberedLogits } from "@layerfold/evaluate";
import { openDecoder } from "@layerfold/graph";
import { componentFold, drop, type Preset, reconstruct, weighted } from "@layerfold/merge";
import { answerFacts, type Calibration, knownCalibration, readAnswers } from "./calibration.js";
import { measureQuality, type Quality } from "./evaluation.js";
import { captureCheckpoint, gatherEvidence, judgesBy, seesActivations } from "./evidence.js";
import { foldModel } from "./fold.js";
import { openModel } from "./inputs.js";
import {
  holdApart,
  type Judgement,
  type JudgementRequest,
  judgementFacts,
  readJudgement,
} from "./judgement.js";
import { factName, type Manifest, manifestOf, modelFact, type PluginFact } from "./manifest.js";
import { writeJson } from "./outputs.js";
import { type PresetParts, presetParts, trialFacts } from "./preset-parts.js";
import { qualityMarkdown } from "./quality-markdown.js";
import { pluginFact, pluginFacts } from "./registry.js";
import type { Run } from "./run.js";
import { type Known, keptResults } from "./unfinished.js";

export interface QualityTableRequest extends JudgementRequest {
  readonly model: string;
  readonly presets: readonly Preset[];
  /** Shares of the layers that go, each above 0 and below 1; rounded to whole layers. */
  readonly ratios: readonly number[];
  readonly calibration: string;
  readonly calibrationTokens?: number;
  readonly selfTemperature?: number;
  readonly calibrationQuestions?: string;
  readonly questionWeight?: number;
  readonly recallWeight?: number;
  readonly planningTokens?: number;
  readonly pooling?: string;
  readonly allowOverlap?: boolean;
  /** Rows that are done lie here, each under its key, and the table once all are. */
  readonly out: string;
}

/** The four ways to carry out one plan. */
export const ways = ["dropped", "dropped + repair", "merged", "merged + repair"] as const;

export interface QualityRow {
  readonly preset: string;
  readonly way: (typeof ways)[number] | "dense";
  /** Whether the preset itself carries its plan out in this way. */
  readonly own: boolean;
  readonly strategy: string | null;
  readonly repair: string | null;
  /** Layers that went. */
  readonly removed: number;
  /** Groups in which two or more layers have weight. */
  readonly merged_groups: number;
  readonly parameter_ratio: number;
  readonly quality: Quality;
  /** To fold and repair, planning left out. */
  readonly seconds: number;
  /** Largest resident size while folding and repairing. */
  readonly peak_rss_bytes: number;
}

export interface QualityPlan {
  readonly preset: string;
  readonly removed: number;
  readonly plan: MergePlan;
  /** That the planner took; what it saw for an earlier ratio of the same preset is not measured anew. */
  readonly seconds: number;
  /** Of each text: merged + repair minus dropped + repair, nats per token, paired by window. Null where nothing could be merged. */
  readonly merging: readonly ({ readonly text: string } & PairedDifference)[] | null;
}

export interface QualityTable {
  readonly dense: QualityRow;
  readonly rows: readonly QualityRow[];
  readonly plans: readonly QualityPlan[];
  readonly notes: readonly string[];
}

/**
 * Does merging beat dropping? For every preset's plan at every ratio four models: its layers merely dropped, dropped and repaired, merged,
 * merged and repaired, each measured as it lies on disk. A row that an earlier run measured is taken from `out/rows`.
 */
export async function qualityTable(request: QualityTableRequest, run: Run): Promise<QualityTable> {
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  let reference: ReturnType<typeof openReference> | undefined;
  try {
    const context = checkpoint.architecture.maxPositionEmbeddings;
    const judgement = await readJudgement(request, context, tokenizer, run);
    const model = await checkpoint.fingerprint();
    const kept = (shared: unknown) => keptResults(join(request.out, "rows"), shared);
    const given = await knownCalibration(
      request.calibration,
      { checkpoint, tokenizer },
      request,
      kept([model]),
      run,
    );
    const { calibration, leftOut, flattered, fresh } = holdApart(
      given,
      judgement,
      request.allowOverlap ?? false,
    );
    const answers = request.calibrationQuestions
      ? await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run)
      : undefined;
    const seen = {
      calibration: calibration.facts,
      ...(await answerFacts(request.calibrationQuestions)),
    };
    const facts = { ...seen, ...(await judgementFacts(request)) };
    const limits = [request.window, request.stride, request.maxTokens, request.beginToken, run.seed];
    const known = kept([model, facts, limits]);
    // Other judged texts leave the plans as they are.
    const { window, questionWeight, planningTokens, pooling: pooled } = request;
    const knownPlan = kept([model, seen, window, questionWeight, planningTokens, pooled, run.seed]);
    const bench: Bench = {
      checkpoint,
      calibration,
      judgement,
      known,
      dense: () => (reference ??= openReference(checkpoint)),
      out: request.out,
      run,
    };

    const dense = await known(["dense"], () => denseRow(checkpoint, judgement, run));
    const pooling = parsePooling(request.pooling ?? (calibration.hasStream ? "every:16" : "last"));
    let captured: Promise<Activations> | undefined;
    const rows: QualityRow[] = [];
    const plans: QualityPlan[] = [];
    const plugins = new Map<string, PluginFact>();
    const layerCount = checkpoint.architecture.blocks.length;
    for (const preset of request.presets) {
      const parts = await presetParts(preset, run);
      const own = pluginFacts(parts.planner, parts.strategy, parts.repair, ...looksOf(parts));
      for (const fact of [...own, ...trialFacts(parts.trial)]) plugins.set(JSON.stringify(fact), fact);
      run.terminal.say(preset.id);
      for (const planned of await plansOf(parts, request.recallWeight ?? preset.recallWeight)) {
        const { removed, plan, seconds } = planned;
        run.terminal.say(`${preset.id}, ${removed} of ${layerCount}`);
        const four: QualityRow[] = [];
        for (const way of waysOf(plan, parts)) four.push(await measuredRow(preset, removed, way, bench));
        rows.push(...four);
        plans.push({ preset: preset.id, removed, plan, seconds, merging: merging(four, run) });
        const used = { data: facts, plugins: [...plugins.values()] };
        await writeTable(request, checkpoint, used, { dense, rows, plans, notes: notesOf() }, run);
      }
    }
    return { dense, rows, plans, notes: notesOf() };

    /** A preset's plans for all ratios. They share the planner's evidence, which is let go before any plan is carried out. */
    async function plansOf(parts: PresetParts, recallWeight?: number) {
      const { planner, comparison, strategy, repair, trial = repair } = parts;
      const judgedBy = judgesBy(planner) ? [strategy, trial] : [];
      const used = [planner, ...looksOf(parts), ...judgedBy].map((part) => part && pluginFact(part));
      let gathered: ReturnType<typeof gatherEvidence> | undefined;
      const gather = async () => {
        if (seesActivations(planner)) {
          captured ??= captureCheckpoint(checkpoint, calibration.sequences, pooling, run);
        }
        const activations = await captured;
        const fold = { strategy, repair: trial };
        const sources = {
          checkpoint,
          comparison,
          activations,
          calibration,
          answers,
          pooling,
          planningTokens,
          recallWeight,
          fold,
        };
        return gatherEvidence(planner, sources, run);
      };
      const found: { removed: number; plan: MergePlan; seconds: number }[] = [];
      try {
        for (const ratio of request.ratios) {
          const removed = Math.min(layerCount - 1, Math.max(1, Math.round(ratio * layerCount)));
          const planned = await knownPlan(["plan", used, recallWeight, removed], async () => {
            const startedAt = performance.now();
            const { evidence } = await (gathered ??= gather());
            const plan = await planner.plan(evidence, layerCount - removed, run.ctx);
            return { plan, seconds: (performance.now() - startedAt) / 1000 };
          });
          found.push({ removed, ...planned });
        }
      } finally {
        await (await gathered)?.close();
      }
      return found;
    }

    function notesOf(): string[] {
      const saw = calibration.facts.map((fact) => `${factName(fact)} (${fact.tokens} tokens)`);
      const notes = [`Calibration saw ${saw.join(", ")}.`, ...leftOut];
      return [...notes, `New to it: ${fresh.join(", ")}.`, ...flattered];
    }
  } finally {
    await (await reference)?.close();
    await checkpoint.close();
  }
}

/** What every row is made and measured with. */
interface Bench {
  readonly checkpoint: Checkpoint;
  readonly calibration: Calibration;
  readonly judgement: Judgement;
  readonly known: Known;
  /** The dense model, opened when a row must be measured. */
  dense(): Promise<{ readonly model: LanguageModel }>;
  readonly out: string;
  readonly run: Run;
}

async function openReference(checkpoint: Checkpoint) {
  const decoder = await openDecoder(checkpoint);
  return { model: rememberedLogits(decoder, 2 ** 29), close: () => decoder.close() };
}

/** Repairs that fill a group's block from all its layers, and so merge by themselves. */
const mergingRepairs = ["component-fold", "concatenate", "searched-weights"];

/** What a preset's planner compares layers by, if it does. */
function looksOf({ planner, comparison }: PresetParts): Plugin[] {
  return planner.needs.includes("similarity") ? [comparison.measure, comparison.embedding] : [];
}

interface Way {
  readonly name: (typeof ways)[number];
  readonly own: boolean;
  readonly plan: MergePlan;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
}

/**
 * The four ways to carry out a plan. What a preset does not say is filled in: a preset that drops is merged by `weighted`, one that
 * repairs nothing is repaired by `reconstruct`; where its repair is itself a merge, the repair without merging is `reconstruct`.
 */
function waysOf(
  plan: MergePlan,
  { strategy, repair }: { readonly strategy: MergeStrategy; readonly repair?: Repair },
): Way[] {
  const merges = repair !== undefined && mergingRepairs.includes(repair.id);
  const drops = strategy.id === "drop";
  const dropped = dropControl(plan);
  const merged = { ...plan, groups: plan.groups.map(merging) };
  const mergedStrategy = drops ? weighted() : strategy;
  const plainRepair = repair && !merges ? repair : reconstruct(reconstructOptions(repair));
  const own = merges || !drops ? (repair ? 3 : 2) : repair ? 1 : 0;
  return [
    { plan: dropped, strategy: drop() },
    { plan: dropped, strategy: drop(), repair: plainRepair },
    { plan: merged, strategy: mergedStrategy },
    merges ? { plan, strategy, repair } : { plan: merged, strategy: mergedStrategy, repair: plainRepair },
  ].map((way, i) => ({ name: ways[i], own: i === own, ...way }));

  /** A group that was to keep one layer merges all of them alike. */
  function merging(group: PlanGroup): PlanGroup {
    return group.layers.length > 1 && keptLayer(group) !== undefined ? { layers: group.layers } : group;
  }
}

/** The options that `reconstruct` shares with a repair. */
function reconstructOptions(repair: Repair | undefined): Record<string, unknown> {
  if (repair?.id !== componentFold.id) return {};
  const shared = Object.keys(reconstruct.optionsSchema.shape);
  return Object.fromEntries(Object.entries(repair.options).filter(([name]) => shared.includes(name)));
}

function mergedGroups({ plan, repair }: Way): number {
  const merges = repair !== undefined && mergingRepairs.includes(repair.id);
  return plan.groups.filter(
    (group) =>
      group.layers.length > 1 &&
      (merges || !group.weights || group.weights.filter((weight) => weight !== 0).length > 1),
  ).length;
}

async function measuredRow(
  preset: Preset,
  removed: number,
  way: Way,
  { checkpoint, calibration, judgement, known, dense, out, run }: Bench,
): Promise<QualityRow> {
  const { plan, strategy, repair } = way;
  const row = await known(
    ["row", plan.groups, pluginFact(strategy), repair && pluginFact(repair)],
    async () => {
      const scratch = await scratchFolder("fold", out);
      const directory = join(scratch, "model");
      try {
        const startedAt = performance.now();
        await resetPeakMemory();
        const { parameterRatio } = await foldModel(
          checkpoint,
          { plan, strategy, repair, calibration, out: directory },
          run,
        );
        const seconds = (performance.now() - startedAt) / 1000;
        const peak = await peakMemory();
        const quality = await measureQuality(directory, judgement, (await dense()).model, run);
        return { parameter_ratio: parameterRatio, seconds, peak_rss_bytes: peak, quality };
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    },
  );
  return {
    preset: preset.id,
    way: way.name,
    own: way.own,
    strategy: strategy.id,
    repair: repair?.id ?? null,
    removed,
    merged_groups: mergedGroups(way),
    ...row,
  };
}

async function denseRow({ directory }: Checkpoint, judgement: Judgement, run: Run): Promise<QualityRow> {
  const quality = await measureQuality(directory, judgement, undefined, run);
  return {
    preset: "dense",
    way: "dense",
    own: false,
    strategy: null,
    repair: null,
    removed: 0,
    merged_groups: 0,
    parameter_ratio: 0,
    quality,
    seconds: 0,
    peak_rss_bytes: await peakMemory(),
  };
}

function merging([, dropped, , merged]: readonly QualityRow[], run: Run): QualityPlan["merging"] {
  if (merged.merged_groups === 0) return null;
  return merged.quality.texts.map(({ text, window_losses, window_tokens }, i) => ({
    text,
    ...pairedDifference(
      window_losses,
      dropped.quality.texts[i].window_losses,
      window_tokens,
      run.ctx.rng.fork(`bootstrap ${text}`),
    ),
  }));
}

/** Linux counts the largest resident size anew; elsewhere the process's own maximum stands. */
async function resetPeakMemory(): Promise<void> {
  await writeFile("/proc/self/clear_refs", "5").catch(() => undefined);
}

async function peakMemory(): Promise<number> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const kibibytes = /VmHWM:\s+(\d+) kB/.exec(status)?.[1];
  return 1024 * (kibibytes === undefined ? process.resourceUsage().maxRSS : Number(kibibytes));
}

async function writeTable(
  request: QualityTableRequest,
  checkpoint: Checkpoint,
  used: Pick<Manifest, "data" | "plugins">,
  table: QualityTable,
  run: Run,
): Promise<void> {
  const { model: path, presets, out, ...given } = request;
  const model = await modelFact(path, checkpoint);
  const manifest = manifestOf(
    {
      command: "quality",
      arguments: { ...given, presets: presets.map(({ id }) => id) },
      model,
      ...used,
    },
    run,
  );
  await writeJson(join(out, "quality.json"), { manifest, presets, ...table });
  await writeWholeFile(join(out, "quality.md"), qualityMarkdown(model.name, table, manifest));
}
