import type { Embedding, MergeStrategy, Planner, Repair, SimilarityMeasure } from "@layerfold/core";
import type { Preset, RepairPart } from "@layerfold/merge";
import { judgesBy } from "./evidence/judges-by.js";
import { type PartMaker, partMaker, partName } from "./make-part.js";
import type { PluginFact } from "./manifest.js";
import type { Part } from "./recipe/recipe-schema.js";
import { pluginFact } from "./registry.js";
import type { Run } from "./run.js";
import { isPlanFile, plannerFromFile } from "./stages/plan-file.js";
import { type Comparison, comparisonOf } from "./stages/similarity.js";

/** Parts named in a preset's stead. */
export interface ReplacedParts {
  /** Or a plan, FILE.json. */
  readonly planner?: Part<Planner> | undefined;
  readonly strategy?: Part<MergeStrategy> | undefined;
  /** `none`: the preset's is left out. */
  readonly repair?: Part<Repair> | undefined;
  readonly measure?: Part<SimilarityMeasure> | undefined;
  readonly embedding?: Part<Embedding> | undefined;
}

/** A method: what a preset says, and whatever else may be named in its parts' stead. */
export interface Method extends Pick<Preset, "id" | "recallWeight"> {
  readonly planner: Part<Planner>;
  readonly strategy: Part<MergeStrategy>;
  readonly repair?: Part<Repair> | RepairPart;
  readonly measure?: Part<SimilarityMeasure>;
  readonly embedding?: Part<Embedding>;
}

/** The method with other parts, which start from their own defaults; its id tells so: `layerfold+random`. Where none is named it stays what it is. */
export function withParts(method: Method, replaced: ReplacedParts): Method {
  const { repair, ...others } = replaced;
  const named = Object.entries(others).filter(([, part]) => part !== undefined);
  const { repair: own, ...rest } = method;
  const kept = repair === undefined ? own : repair === "none" ? undefined : repair;
  const parts = Object.values(replaced).filter((part) => part !== undefined);
  return {
    ...rest,
    ...Object.fromEntries(named),
    ...(kept && { repair: kept }),
    id: [method.id, ...parts.map(partName)].join("+"),
  };
}

/** The strategy and repair of these names, their options overruled by `--set`. */
export async function foldParts(
  { strategy, repair }: Pick<Method, "strategy" | "repair">,
  run: Run,
  make: PartMaker = partMaker(run.settings.of),
): Promise<{ readonly strategy: MergeStrategy; readonly repair?: Repair }> {
  return {
    strategy: await make<MergeStrategy>("strategy", strategy),
    ...(repair && { repair: await make<Repair>("repair", repair) }),
  };
}

export interface PresetParts {
  readonly planner: Planner;
  readonly strategy: MergeStrategy;
  readonly repair?: Repair;
  /** The repair as the planner tries plans with it, where the preset or `--set trial.OPTION` gives it other options there. */
  readonly trial?: Repair;
  readonly comparison: Comparison;
}

/** The plug-ins that a method names. */
export async function presetParts(
  method: Method,
  run: Run,
  make: PartMaker = partMaker(run.settings.of),
): Promise<PresetParts> {
  const { planner: named, measure = "npib", embedding } = method;
  const planner =
    typeof named !== "function" && isPlanFile(partId(named))
      ? await plannerFromFile(partId(named))
      : await make<Planner>("planner", named);
  const fold = await foldParts(method, run, make);
  const trial = judgesBy(planner) === "repair" ? await trialRepair(method, run, make) : undefined;
  return {
    planner,
    ...fold,
    ...(trial && { trial }),
    comparison: await comparisonOf(measure, embedding, make),
  };
}

const partId = (part: Part) => (typeof part === "string" ? part : part.id);

async function trialRepair(
  { repair }: Pick<Method, "repair">,
  run: Run,
  make: PartMaker,
): Promise<Repair | undefined> {
  if (!repair) return undefined;
  const own = typeof repair === "object" && "trial" in repair ? repair.trial : undefined;
  const others = { ...own, ...run.settings.of("trial") };
  return Object.keys(others).length > 0 ? make<Repair>("repair", repair, others) : undefined;
}

/** What a manifest says of a repair that plans are tried with. */
export function trialFacts(trial: Repair | undefined): PluginFact[] {
  return trial ? [{ ...pluginFact(trial), kind: "trial" }] : [];
}
