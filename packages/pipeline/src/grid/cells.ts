import {
  type Embedding,
  errorWithin,
  LayerfoldError,
  type MergeStrategy,
  type Planner,
  type Repair,
  type SimilarityMeasure,
} from "@layerfold/core";
import { checkTarget, preset } from "@layerfold/merge";
import { judgesBy } from "../evidence/judges-by.js";
import { partMaker, partName } from "../make-part.js";
import {
  type Method,
  type PresetParts,
  presetParts,
  type ReplacedParts,
  withParts,
} from "../preset-parts.js";
import { calibrationOf } from "../recipe/recipe-parts.js";
import type { Part, Recipe } from "../recipe/recipe-schema.js";
import type { Locate } from "../recipe/yaml-file.js";
import type { Run } from "../run.js";
import type { Comparison } from "../stages/similarity.js";

/** A method of a grid, its plug-ins made. */
export interface GridMethod extends PresetParts {
  /** Tells it from the grid's other methods. */
  readonly id: string;
  /** What the mean loss of tokens that stood in their window before weighs when plans are tried. */
  readonly recallWeight: number;
  /** Whether its planner looks at how alike layers are. */
  readonly looks: boolean;
}

/** One plan of a grid: a method and how many layers remain. */
export interface GridCell {
  readonly method: GridMethod;
  readonly target: number;
}

export interface GridCells {
  /** In the order of their rows; those of a group are planned before any of them is carried out. */
  readonly groups: readonly (readonly GridCell[])[];
  /** Of all lists: a planner that looks at no measure fills one row for all measures, one that judges folds after repair none without one. */
  readonly combinations: number;
  /** Ways of comparing layers, whether or not a planner looks at it. */
  readonly comparisons: readonly Comparison[];
}

/**
 * Makes a grid's cells. A planner that looks at no measure stands under the first only; one that judges folds after repair has no cell
 * where nothing is repaired.
 *
 * @param locate - where things stand in the recipe
 * @throws GRID_EMPTY, GRID_TWICE, LAYERS_OUT_OF_RANGE, PRESET_UNKNOWN, OPTION_UNKNOWN, and what making plug-ins throws
 */
export async function gridCells(
  recipe: Recipe,
  layerCount: number,
  run: Run,
  locate: Locate,
): Promise<GridCells> {
  const targets = targetsOf(recipe, layerCount, locate);
  const recalled = calibrationOf(recipe)?.recall_weight;
  const make = partMaker(run.settings.of);
  const methodOf = async (method: Method, path: readonly PropertyKey[]): Promise<GridMethod> => {
    const parts = await presetParts(method, run, make).catch((error) => {
      const where = locate(path);
      throw where === undefined ? error : errorWithin(error, where);
    });
    return {
      ...parts,
      id: method.id,
      recallWeight: recalled ?? method.recallWeight ?? 0,
      looks: parts.planner.needs.includes("similarity"),
    };
  };
  const built =
    recipe.methods === undefined
      ? await cellsOfAxes(recipe, targets, methodOf)
      : await cellsOfMethods(recipe, targets, methodOf, locate);
  const cells = built.groups.flat();
  if (cells.length === 0) {
    throw new LayerfoldError("GRID_EMPTY", "no combination of the recipe's lists gives a row", {
      wanted: "a repair beside none: the planners judge folds after repair",
      where: locate(["repairs"]),
    });
  }
  const names = cells.map(({ method, target }) => `${method.id}, ${target} layers`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) {
    throw new LayerfoldError("GRID_TWICE", "two of the recipe's combinations would write the same output", {
      wanted: "every row once, or methods that are given names",
      got: twice,
      where: locate([]),
    });
  }
  return built;
}

/** Layers that remain. */
function targetsOf({ layers, ratios }: Recipe, layerCount: number, locate: Locate): number[] {
  if (layers !== undefined) {
    for (const [index, target] of layers.entries())
      checkTarget({ layerCount }, target, locate(["layers", index]));
    return layers;
  }
  return (ratios ?? []).map(
    (ratio) => layerCount - Math.min(layerCount - 1, Math.max(1, Math.round(ratio * layerCount))),
  );
}

type MethodOf = (method: Method, path: readonly PropertyKey[]) => Promise<GridMethod>;

/** The recipe's methods with every combination of the lists beside them: a group each. */
async function cellsOfMethods(
  recipe: Recipe,
  targets: readonly number[],
  methodOf: MethodOf,
  locate: Locate,
): Promise<GridCells> {
  const groups: GridCell[][] = [];
  for (const [index, named] of recipe.methods!.entries()) {
    const path = ["methods", index];
    const method = namedMethod(named, locate(path));
    for (const replaced of replacements(recipe)) {
      const made = await methodOf(withParts(method, replaced), path);
      groups.push(targets.map((target) => ({ method: made, target })));
    }
  }
  const cells = groups.flat();
  const comparisons = cells.map(({ method }) => method.comparison);
  return { groups, combinations: cells.length, comparisons };
}

function namedMethod(named: NonNullable<Recipe["methods"]>[number], path: string | undefined): Method {
  if (typeof named === "string") return knownPreset(named, path);
  const { method, name, recall_weight: recallWeight, ...parts } = named;
  const { planner, strategy, repair, measure, embedding } = parts as ReplacedParts;
  if (method === undefined) {
    const given = {
      planner: planner!,
      strategy: strategy ?? "weighted",
      ...(measure !== undefined && { measure }),
      ...(embedding !== undefined && { embedding }),
    };
    const kept = repair === "none" ? undefined : repair;
    const id = [given.planner, given.strategy, kept].flatMap((part) => (part ? [partName(part)] : []));
    return {
      ...given,
      id: name ?? id.join("+"),
      ...(kept && { repair: kept }),
      ...(recallWeight !== undefined && { recallWeight }),
    };
  }
  return {
    ...withParts(knownPreset(method, path), { planner, strategy, repair, measure, embedding }),
    ...(name !== undefined && { id: name }),
    ...(recallWeight !== undefined && { recallWeight }),
  };
}

function knownPreset(id: string, where: string | undefined): Method {
  try {
    return preset(id);
  } catch (error) {
    throw where === undefined ? error : errorWithin(error, where);
  }
}

/** Every combination of the lists beside the methods; a list that is not there leaves the methods' own. */
function replacements({ planners, strategies, repairs, measures, embeddings }: Recipe): ReplacedParts[] {
  const own = [undefined];
  return (planners ?? own).flatMap((planner) =>
    (strategies ?? own).flatMap((strategy) =>
      (repairs ?? own).flatMap((repair) =>
        (measures ?? own).flatMap((measure) =>
          (embeddings ?? own).map((listed) => ({
            planner: planner as Part<Planner> | undefined,
            strategy: strategy as Part<MergeStrategy> | undefined,
            repair: repair as Part<Repair> | undefined,
            ...comparisonParts(measure, listed),
          })),
        ),
      ),
    ),
  );
}

type Measure = NonNullable<Recipe["measures"]>[number];

/** A measure may bring an embedding of its own. */
function comparisonParts(
  measure: Measure | undefined,
  listed: Part | undefined,
): Pick<Method, "measure" | "embedding"> {
  const own = typeof measure === "object" && "embedding" in measure ? (measure.embedding as Part) : undefined;
  const embedding = own ?? listed;
  return {
    ...(measure !== undefined && { measure: measure as Part<SimilarityMeasure> }),
    ...(embedding !== undefined && { embedding: embedding as Part<Embedding> }),
  };
}

/** Every combination of the lists, each a group of its own: measures, then planners, depths, strategies and repairs. */
async function cellsOfAxes(
  recipe: Recipe,
  targets: readonly number[],
  methodOf: MethodOf,
): Promise<GridCells> {
  const { planners = [], strategies = ["weighted"], repairs = ["none"] } = recipe;
  const { measures = ["npib"], embeddings = [undefined] } = recipe;
  const comparisons = measures.flatMap((measure) =>
    embeddings.map((embedding) => comparisonParts(measure, embedding)),
  );
  const groups: GridCell[][] = [];
  const made: Comparison[] = [];
  for (const [index, comparison] of comparisons.entries()) {
    for (const [p, planner] of planners.entries()) {
      const combined = async (strategy: Part, repair: Part) => {
        const unrepaired = repair === "none";
        const parts = [planner, strategy, ...(unrepaired ? [] : [repair])];
        const method = {
          id: parts.map(partName).join("+"),
          planner: planner as Part<Planner>,
          strategy: strategy as Part<MergeStrategy>,
          ...(!unrepaired && { repair: repair as Part<Repair> }),
          ...comparison,
        };
        const built = await methodOf(method, ["planners", p]);
        made.push(built.comparison);
        const compared = [comparison.measure, comparison.embedding].filter((part) => part !== undefined);
        if (!built.looks) return built;
        return { ...built, id: [method.id, ...compared.map((part) => partName(part as Part))].join("+") };
      };
      for (const target of targets) {
        for (const strategy of strategies) {
          for (const repair of repairs) {
            const method = await combined(strategy, repair);
            // A planner that looks at no measure plans the same under each.
            if (!method.looks && index > 0) continue;
            if (judgesBy(method.planner) === "repair" && !method.repair) continue;
            groups.push([{ method, target }]);
          }
        }
      }
    }
  }
  const lists = [comparisons, planners, targets, strategies, repairs];
  const combinations = lists.reduce((product, { length }) => product * length, 1);
  return { groups, combinations, comparisons: made };
}
