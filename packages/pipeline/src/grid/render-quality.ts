import type { MergePlan } from "@layerfold/core";
import { type PairedDifference, pairedDifference } from "@layerfold/evaluate";
import type { Preset } from "@layerfold/merge";
import type { Manifest } from "../manifest.js";
import { jsonText } from "../outputs.js";
import type { RowName } from "../recipe/recipe-schema.js";
import type { Run } from "../run.js";
import type { Quality } from "../stages/measure.js";
import type { Grid, GridPlan, GridRow, GridTable } from "./grid.js";
import { qualityMarkdown } from "./quality-markdown.js";

export interface QualityRow {
  readonly preset: Preset["id"];
  readonly variant: RowName | "dense";
  /** Whether the method itself carries its plan out so. */
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

/** Does merging beat dropping? Every method's plans, each carried out in the ways that the recipe shows. */
export interface QualityTable {
  readonly dense: QualityRow;
  readonly rows: readonly QualityRow[];
  readonly plans: readonly QualityPlan[];
  readonly notes: readonly string[];
}

/** Names of all that `qualityFiles` gives. */
export const qualityNames = ["quality.json", "quality.md", "manifest.json"];

/** The quality table of what a grid has found. */
export function qualityTable({ rows, plans, notes }: GridTable, layerCount: number, run: Run): QualityTable {
  const [dense, ...others] = rows.map((row) => qualityRow(row, layerCount));
  return {
    dense,
    rows: others,
    plans: plans.map((planned) => qualityPlan(planned, rows, layerCount, run)),
    notes,
  };
}

function qualityRow({ cell, name, ...row }: GridRow, layerCount: number): QualityRow {
  return {
    preset: cell?.method.id ?? "dense",
    variant: name,
    own: row.own,
    strategy: row.strategy,
    repair: row.repair,
    removed: cell ? layerCount - cell.target : 0,
    merged_groups: row.mergedGroups,
    parameter_ratio: row.parameterRatio,
    quality: row.quality,
    seconds: row.seconds,
    peak_rss_bytes: row.peakRssBytes,
  };
}

function qualityPlan(
  { method, target, plan, seconds }: GridPlan,
  rows: readonly GridRow[],
  layerCount: number,
  run: Run,
): QualityPlan {
  const named = (name: RowName) =>
    rows.find(({ cell, ...row }) => row.name === name && cell?.method === method && cell.target === target);
  const merging = mergingOf(named("dropped + repair"), named("merged + repair"), run);
  return { preset: method.id, removed: layerCount - target, plan, seconds, merging };
}

function mergingOf(
  dropped: GridRow | undefined,
  merged: GridRow | undefined,
  run: Run,
): QualityPlan["merging"] {
  if (!dropped || !merged || merged.mergedGroups === 0) return null;
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

/** quality.json and quality.md, by name. */
export function qualityFiles(
  { bench }: Grid,
  found: GridTable,
  manifest: Manifest,
): ReadonlyMap<string, string> {
  const table = qualityTable(found, bench.checkpoint.architecture.blocks.length, bench.run);
  return new Map([
    ["quality.json", jsonText({ manifest, ...table })],
    ["quality.md", qualityMarkdown(manifest.model?.name ?? "", table, manifest)],
    ["manifest.json", jsonText(manifest)],
  ]);
}
