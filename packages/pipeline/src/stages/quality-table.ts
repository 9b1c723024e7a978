import { join } from "node:path";
import type { Checkpoint } from "@layerfold/checkpoint";
import type { MergePlan, Plugin } from "@layerfold/core";
import { writeWholeFile } from "@layerfold/disk";
import { type PairedDifference, pairedDifference } from "@layerfold/evaluate";
import type { Preset } from "@layerfold/merge";
import { answerFacts, readAnswers } from "../calibration/read-calibration.js";
import { type EvaluationRequest, evaluationFacts, readEvaluationSet } from "../evaluation/evaluation-set.js";
import { openModel } from "../inputs/open-model.js";
import { factName, type Manifest, manifestOf, modelFact, type PluginFact } from "../manifest.js";
import { writeJson } from "../outputs.js";
import { type PresetParts, presetParts, trialFacts } from "../preset-parts.js";
import { pluginFacts } from "../registry.js";
import type { Run } from "../run.js";
import { withTasks } from "../work-folder.js";
import { measureModel, type Quality } from "./measure.js";
import { measuredFold } from "./measured-fold.js";
import { openWorkbench } from "./open-workbench.js";
import { qualityMarkdown } from "./quality-markdown.js";
import { mergedGroups, type Variant, type VariantName, variantsOf } from "./variants.js";
import { planOf, type Workbench } from "./workbench.js";

export interface QualityTableRequest extends EvaluationRequest {
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
  /** The table is written here, anew after every plan. */
  readonly out: string;
}

export interface QualityRow {
  readonly preset: string;
  readonly variant: VariantName | "dense";
  /** Whether the preset itself carries its plan out so. */
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
  /** That the planner took; what it saw for an earlier ratio, or an earlier run found, is not measured anew. */
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
 * merged and repaired, each measured as it lies on disk. What is found stays in `OUT.work`.
 */
export async function qualityTable(request: QualityTableRequest, run: Run): Promise<QualityTable> {
  const { checkpoint, tokenizer } = await openModel(request.model, run);
  try {
    const context = checkpoint.architecture.maxPositionEmbeddings;
    const evaluationSet = await readEvaluationSet(request, context, tokenizer, run);
    const answers = request.calibrationQuestions
      ? await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run)
      : undefined;
    return await withTasks(request.out, { ...run, keepWork: true }, async (tasks) => {
      const opened = { checkpoint, tokenizer, evaluationSet, ...(answers && { answers }) };
      const { bench, separated } = await openWorkbench(request, opened, tasks, run);
      const { excluded, unseen, contaminated } = separated!;
      const calibration = bench.calibration!;
      const saw = calibration.facts.map((fact) => `${factName(fact)} (${fact.tokens} tokens)`);
      const notes = [
        `Calibration saw ${saw.join(", ")}.`,
        ...excluded,
        `New to it: ${unseen.join(", ")}.`,
        ...contaminated,
      ];
      const data = {
        calibration: calibration.facts,
        ...(await answerFacts(request.calibrationQuestions)),
        ...(await evaluationFacts(request)),
      };
      const dense = denseRow(await measureModel(bench.model, evaluationSet, undefined, tasks));
      const rows: QualityRow[] = [];
      const plans: QualityPlan[] = [];
      const plugins = new Map<string, PluginFact>();
      const say = (message: string) => run.ctx.report?.({ type: "status", message });
      for (const preset of request.presets) {
        const parts = await presetParts(preset, run);
        const own = pluginFacts(parts.planner, parts.strategy, parts.repair, ...looksOf(parts));
        for (const fact of [...own, ...trialFacts(parts.trial)]) plugins.set(JSON.stringify(fact), fact);
        say(preset.id);
        const layerCount = checkpoint.architecture.blocks.length;
        for (const planned of await plansOf(request, preset, parts, bench)) {
          const { removed, plan, seconds } = planned;
          say(`${preset.id}, ${removed} of ${layerCount}`);
          const four: QualityRow[] = [];
          for (const variant of variantsOf(plan, parts)) {
            four.push(await measuredRow(preset, removed, variant, bench));
          }
          rows.push(...four);
          plans.push({ preset: preset.id, removed, plan, seconds, merging: merging(four, run) });
          await writeTable(
            request,
            checkpoint,
            { data, plugins: [...plugins.values()] },
            { dense, rows, plans, notes },
            run,
          );
        }
      }
      return { dense, rows, plans, notes };
    });
  } finally {
    await checkpoint.close();
  }
}

/** A preset's plans for all ratios, before any is carried out: they share what their planner finds out. */
async function plansOf(request: QualityTableRequest, preset: Preset, parts: PresetParts, bench: Workbench) {
  const layerCount = bench.checkpoint.architecture.blocks.length;
  const found: { removed: number; plan: MergePlan; seconds: number }[] = [];
  for (const ratio of request.ratios) {
    const removed = Math.min(layerCount - 1, Math.max(1, Math.round(ratio * layerCount)));
    const startedAt = performance.now();
    const plan = await planOf(
      bench,
      parts,
      layerCount - removed,
      request.recallWeight ?? preset.recallWeight,
    );
    found.push({ removed, plan, seconds: (performance.now() - startedAt) / 1000 });
  }
  return found;
}

/** What a preset's planner compares layers by, if it does. */
function looksOf({ planner, comparison }: PresetParts): Plugin[] {
  return planner.needs.includes("similarity") ? [comparison.measure, comparison.embedding] : [];
}

async function measuredRow(
  preset: Preset,
  removed: number,
  variant: Variant,
  bench: Workbench,
): Promise<QualityRow> {
  const { name, own, strategy, repair } = variant;
  const { facts, quality } = await measuredFold(bench, variant, false);
  return {
    preset: preset.id,
    variant: name,
    own,
    strategy: strategy.id,
    repair: repair?.id ?? null,
    removed,
    merged_groups: mergedGroups(variant),
    parameter_ratio: facts.parameter_ratio,
    quality,
    seconds: facts.seconds,
    peak_rss_bytes: facts.peak_rss_bytes,
  };
}

function denseRow(quality: Quality): QualityRow {
  return {
    preset: "dense",
    variant: "dense",
    own: false,
    strategy: null,
    repair: null,
    removed: 0,
    merged_groups: 0,
    parameter_ratio: 0,
    quality,
    seconds: 0,
    peak_rss_bytes: 0,
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
