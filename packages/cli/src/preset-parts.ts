import type { MergeStrategy, Planner, Repair } from "@layerfold/core";
import type { Preset } from "@layerfold/merge";
import { plannerFromFile } from "./plan-file.js";
import { makePlugin } from "./registry.js";
import type { Run } from "./run.js";
import { type Comparison, makeComparison } from "./similarity.js";

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
    repair:
      repair &&
      (await makePlugin<Repair>("repair", repair.id, { ...repair.options, ...run.settings.of("repair") })),
  };
}

export interface PresetParts {
  readonly planner: Planner;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
  readonly comparison: Comparison;
}

/** The plug-ins that a preset names. */
export async function presetParts(preset: Preset, run: Run): Promise<PresetParts> {
  const { id, options } = preset.planner;
  return {
    planner: id.endsWith(".json")
      ? await plannerFromFile(id)
      : await makePlugin<Planner>("planner", id, { ...options, ...run.settings.of("planner") }),
    ...(await foldParts(preset, run)),
    comparison: await makeComparison(preset.measure?.id ?? "npib", preset.embedding?.id, run),
  };
}
