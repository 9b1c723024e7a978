import type { Plugin } from "@layerfold/core";
import type { Run } from "../run.js";
import { pathsFrom } from "./recipe-paths.js";
import { knownKeys, type Recipe } from "./recipe-schema.js";

/**
 * The recipe that a run's manifest holds: seed, options and device are the run's, paths are relative to the manifest, and where it goes is left open. A
 * plug-in that was handed over in code is named by its id: such a recipe runs again only in code.
 */
export function manifestRecipe(
  recipe: Recipe,
  folder: string,
  run: Pick<Run, "seed" | "settings" | "place" | "execution">,
): Recipe {
  const {
    output: _,
    options: __,
    seed: ___,
    device: ____,
    allow_fallback: _____,
    ...rest
  } = pathsFrom(recipe, folder);
  const options = run.settings.values;
  const { device = "cpu", allowFallback } = run.place;
  const whole = {
    ...rest,
    seed: run.seed,
    // Where there is room for the whole model there will be again.
    ...(run.execution === "blocks" && { execution: run.execution }),
    ...(Object.keys(options).length > 0 && { options }),
    ...(device !== "cpu" && { device, ...(allowFallback && { allow_fallback: true }) }),
  };
  // However the recipe was made, the same one is the same bytes.
  return pluginsNamed(ordered(whole));
}

/** With its keys, and those of its mappings, in the schema's order. */
function ordered(recipe: Recipe): Recipe {
  const sorted = <T extends object>(value: T, path: readonly string[]): T =>
    Object.fromEntries(
      knownKeys(path).flatMap((key) => (key in value ? [[key, value[key as keyof T]]] : [])),
    ) as T;
  const { calibration, evaluate } = recipe;
  const isMapping = (value: unknown) => typeof value === "object" && !Array.isArray(value);
  return sorted(
    {
      ...recipe,
      ...(isMapping(calibration) && { calibration: sorted(calibration as object, ["calibration"]) }),
      ...(isMapping(evaluate) && { evaluate: sorted(evaluate as object, ["evaluate"]) }),
    } as Recipe,
    [],
  );
}

/** JSON of a value in which plug-ins stand by id and options. */
export function pluginsNamed<T>(value: T): T {
  return JSON.parse(JSON.stringify(value, (_key, part) => (isMade(part) ? named(part) : part)));
}

function isMade(value: unknown): value is Plugin {
  const given = typeof value === "function" || (typeof value === "object" && value !== null);
  return given && "kind" in value && "id" in value;
}

function named({ id, options }: Plugin) {
  return options !== undefined && Object.keys(options).length > 0 ? { id, options } : id;
}
