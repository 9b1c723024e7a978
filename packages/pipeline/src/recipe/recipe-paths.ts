import { existsSync, realpathSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { parseTextSource, sourceName } from "../inputs/text-source.js";
import { isModulePath, moduleTask, taskOf } from "../module-path.js";
import { isPlanFile } from "../stages/plan-file.js";
import { calibrationOf, evaluationOf } from "./recipe-parts.js";
import type { Part, Recipe } from "./recipe-schema.js";

/** Which part of a recipe a path stands in. */
type Kind = "model" | "text" | "questions" | "task" | "plugin" | "plan" | "output";

/** A recipe with every path in it mapped; `hf:` names stay. @throws TEXT_SOURCE, CALIBRATION_SHARES */
export function mapPaths(recipe: Recipe, map: (path: string, kind: Kind) => string): Recipe {
  const text = (kind: Kind) => (named: string) =>
    named
      .split(",")
      .map((one) => mapSource(one, (path, of) => map(path, of ?? kind)))
      .join(",");
  const part = <P extends Part | undefined>(named: P): P => {
    if (typeof named === "string") return mapName(named) as P;
    if (named === undefined || typeof named === "function" || "kind" in named) return named;
    return { ...(named as object), id: mapName(named.id) } as P;
  };
  const mapName = (name: string) => {
    if (isPlanFile(name)) return map(name, "plan");
    return isModulePath(name) ? map(name, "plugin") : name;
  };
  const parts = <P extends Part>(list: readonly P[] | undefined) => list?.map((one) => part(one));
  const calibration = calibrationOf(recipe);
  const evaluation = evaluationOf(recipe);
  const mapped: Recipe = {
    ...recipe,
    model: recipe.model.startsWith("hf:") ? recipe.model : map(recipe.model, "model"),
    calibration: calibration && {
      ...calibration,
      text: text("text")(calibration.text),
      questions: calibration.questions && text("questions")(calibration.questions),
    },
    evaluate: evaluation && {
      ...evaluation,
      texts: evaluation.texts?.map(text("text")),
      questions: evaluation.questions && text("questions")(evaluation.questions),
      tasks: evaluation.tasks?.map((task) => {
        const own = moduleTask(task);
        if (own) return `${map(own.task, "plugin")}:${text("task")(own.rest)}`;
        const colon = task.indexOf(":");
        return colon < 1 ? task : `${task.slice(0, colon)}:${text("task")(task.slice(colon + 1))}`;
      }),
    },
    methods: recipe.methods?.map((method) =>
      typeof method === "string"
        ? method
        : {
            ...method,
            planner: part(method.planner),
            strategy: part(method.strategy),
            repair: part(method.repair),
            measure: part(method.measure),
            embedding: part(method.embedding),
          },
    ),
    planners: parts(recipe.planners),
    strategies: parts(recipe.strategies),
    repairs: parts(recipe.repairs),
    measures: recipe.measures?.map((measure) => {
      const named = part(measure as Part);
      return typeof named === "object" && "embedding" in named
        ? { ...named, embedding: part(named.embedding as Part) }
        : named;
    }),
    embeddings: parts(recipe.embeddings),
    quantize: recipe.quantize?.map((scheme) => scheme.split(",").map(mapName).join(",")),
    output: recipe.output && map(recipe.output, "output"),
  };
  return withoutAbsent(mapped);
}

/** `NAME:FILE[from:to]:share` with another file. */
function mapSource(text: string, map: (path: string, of?: "plugin") => string): string {
  const source = parseTextSource(text, (file) => existsSync(file) || existsSync(map(file)));
  if (source.file === undefined) return text.trim();
  const task = source.task === undefined ? undefined : mapTask(source.task, (path) => map(path, "plugin"));
  const named = sourceName({ ...source, ...(task !== undefined && { task }), file: map(source.file) });
  return source.share === undefined ? named : `${named}:${source.share}`;
}

function mapTask(named: string, map: (path: string) => string): string {
  const { id, wrong } = taskOf(named);
  return isModulePath(id) ? `${map(id)}${wrong ? "+wrong" : ""}` : named;
}

/** A recipe whose paths are relative to its file. */
export function resolvePaths(recipe: Recipe, file: string): Recipe {
  return mapPaths(recipe, (path) => (path.startsWith("~") ? path : resolve(dirname(file), path)));
}

/** The same recipe for a file in a folder: paths are relative to that, and a plug-in's tell that they are paths. */
export function pathsFrom(recipe: Recipe, folder: string): Recipe {
  return mapPaths(recipe, (path, kind) => {
    // Links above a file are followed, for the folder's own path is a real one; its own name stays.
    const target = resolve(path);
    const found = relative(realFolder(resolve(folder)), join(realFolder(dirname(target)), basename(target)));
    const named = (found === "" ? "." : found).split(sep).join("/");
    return kind === "plugin" && !isAbsolute(found) && !named.startsWith(".") ? `./${named}` : named;
  });
}

function realFolder(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const above = dirname(path);
  return above === path ? path : join(realFolder(above), basename(path));
}

/** All that a recipe names and reads. @throws TEXT_SOURCE */
export function recipeInputs(recipe: Recipe): { texts: string[]; files: string[]; plans: string[] } {
  const found = { texts: [] as string[], files: [] as string[], plans: [] as string[] };
  mapPaths(recipe, (path, kind) => {
    if (kind === "plan") found.plans.push(path);
    else if (kind === "plugin") found.files.push(path);
    else if (kind !== "model" && kind !== "output") found.texts.push(path);
    return path;
  });
  return found;
}

/** Without keys that say nothing, at the top and in the two mappings. */
function withoutAbsent(recipe: Recipe): Recipe {
  const told = (entries: object) =>
    Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined));
  const { calibration, evaluate } = recipe;
  return told({
    ...recipe,
    calibration: typeof calibration === "object" ? told(calibration) : calibration,
    evaluate: typeof evaluate === "object" ? told(evaluate) : evaluate,
  }) as Recipe;
}
