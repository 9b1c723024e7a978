import type { MergeStrategy, Planner, Repair } from "@layerfold/core";
import type { Preset, RepairPart } from "@layerfold/merge";
import { judgesBy } from "./evidence/judges-by.js";
import type { PluginFact } from "./manifest.js";
import { makePlugin, pluginFact } from "./registry.js";
import type { Run } from "./run.js";
import { isPlanFile, plannerFromFile } from "./stages/plan-file.js";
import { type Comparison, makeComparison } from "./stages/similarity.js";

/** Parts named in a preset's stead. */
export interface ReplacedParts {
  /** Or a plan, FILE.json. */
  readonly planner?: string;
  readonly strategy?: string;
  /** `none`: the preset's is left out. */
  readonly repair?: string;
  readonly measure?: string;
  readonly embedding?: string;
}

/** The preset with other parts, which start from their own defaults; its id tells so: `layerfold+random`. */
export function withParts(preset: Preset, replaced: ReplacedParts): Preset {
  const { repair, ...others } = replaced;
  const named = Object.entries(others).flatMap(([kind, id]) => (id === undefined ? [] : [[kind, { id }]]));
  const { repair: own, ...rest } = preset;
  const kept = repair === undefined ? own : repair === "none" ? undefined : { id: repair };
  const names = Object.values(replaced).filter((name) => name !== undefined);
  return {
    ...rest,
    ...Object.fromEntries(named),
    ...(kept && { repair: kept }),
    id: [preset.id, ...names.map((name) => name.split(/[\\/]/).at(-1))].join("+"),
  };
}

/** The strategy and repair of these names, their options overruled by `--set`. */
export async function foldParts(
  { strategy, repair }: Pick<Preset, "strategy" | "repair">,
  run: Run,
): Promise<{ readonly strategy: MergeStrategy; readonly repair?: Repair }> {
  return {
    strategy: await makePlugin<MergeStrategy>("strategy", strategy.id, {
      ...strategy.options,
      ...run.settings.of("strategy"),
    }),
    repair: repair && (await makeRepair(repair, run)),
  };
}

/** @param others - options that overrule those of the preset and of `--set repair.OPTION` */
function makeRepair({ id, options }: RepairPart, run: Run, others?: RepairPart["trial"]): Promise<Repair> {
  return makePlugin<Repair>("repair", id, { ...options, ...run.settings.of("repair"), ...others });
}

export interface PresetParts {
  readonly planner: Planner;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
  /** The repair as the planner tries plans with it, where the preset or `--set trial.OPTION` gives it other options there. */
  readonly trial?: Repair;
  readonly comparison: Comparison;
}

/** The plug-ins that a preset names. */
export async function presetParts(preset: Preset, run: Run): Promise<PresetParts> {
  const { id, options } = preset.planner;
  const planner = isPlanFile(id)
    ? await plannerFromFile(id)
    : await makePlugin<Planner>("planner", id, { ...options, ...run.settings.of("planner") });
  return {
    planner,
    ...(await foldParts(preset, run)),
    trial: judgesBy(planner) === "repair" ? await trialRepair(preset, run) : undefined,
    comparison: await makeComparison(preset.measure?.id ?? "npib", preset.embedding?.id, run),
  };
}

async function trialRepair({ repair }: Preset, run: Run): Promise<Repair | undefined> {
  if (!repair) return undefined;
  const others = { ...repair.trial, ...run.settings.of("trial") };
  return Object.keys(others).length > 0 ? makeRepair(repair, run, others) : undefined;
}

/** What a manifest says of a repair that plans are tried with. */
export function trialFacts(trial: Repair | undefined): PluginFact[] {
  return trial ? [{ ...pluginFact(trial), kind: "trial" }] : [];
}
