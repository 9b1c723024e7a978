import { isLayerfoldError, LayerfoldError, parseOptions, z } from "@layerfold/core";
import { resolvePaths } from "./recipe-paths.js";
import { knownKeys, type Recipe, recipeSchemas } from "./recipe-schema.js";
import { checkedBy, type Locate, readYaml, type YamlFile } from "./yaml-file.js";

/** What a manifest says of the run that wrote it. */
const manifestSchema = z.object({
  layerfold: z.string(),
  recipe: z.record(z.string(), z.unknown()),
  model: z.object({ name: z.string(), sha256: z.string() }).optional(),
  data: z.record(z.string(), z.unknown()).default({}),
});

/** The fingerprints of another run of the same recipe. */
export type EarlierRun = Pick<z.output<typeof manifestSchema>, "model" | "data">;

/** A recipe, and where in its file things stand. */
export interface RecipeSource {
  /** Paths are resolved. */
  readonly recipe: Recipe;
  readonly locate: Locate;
  /** Of a manifest: what the run saw that wrote it. */
  readonly earlier?: EarlierRun;
}

/**
 * Reads a recipe (YAML or JSON), or a run's manifest, which holds one.
 * @throws RECIPE_INVALID with line and column, TEXT_SOURCE, and what `readTextFile` throws
 */
export async function readRecipe(file: string): Promise<RecipeSource> {
  const found = await recipeOrProblems(file);
  if ("problems" in found) throw found.problems[0];
  return found;
}

/** The same, but with all that is wrong in the file itself. */
export async function recipeOrProblems(
  file: string,
): Promise<RecipeSource | { readonly problems: readonly LayerfoldError[] }> {
  const yaml = await readYaml(file);
  const manifest = manifestSchema.safeParse(yaml.value);
  const content = manifest.success ? within(yaml, "recipe", manifest.data.recipe) : yaml;
  const checked = checkedBy(recipeSchemas.file, content, knownKeys);
  if ("problems" in checked) return checked;
  return {
    recipe: resolved(checked.value, file),
    locate: content.locate,
    ...(manifest.success && { earlier: manifest.data }),
  };
}

/** A recipe that was handed over in code. @throws OPTION_UNKNOWN, OPTION_INVALID */
export function recipeInCode(recipe: Recipe): RecipeSource {
  return {
    recipe: parseOptions(recipeSchemas.code, recipe, "recipe"),
    locate: (path) => `recipe${path.map((key) => `.${String(key)}`).join("")}`,
  };
}

export function resolved(recipe: Recipe, file: string): Recipe {
  try {
    return resolvePaths(recipe, file);
  } catch (error) {
    if (!isLayerfoldError(error)) throw error;
    const { code, reason, wanted, got } = error;
    throw new LayerfoldError(code, reason, { wanted, got, where: file, cause: error });
  }
}

/** A part of a file as a file of its own. */
function within(yaml: YamlFile, key: string, value: unknown): YamlFile {
  return {
    value,
    locate: (path) => yaml.locate([key, ...path]),
    locateKey: (path) => yaml.locateKey([key, ...path]),
  };
}
