import { LayerfoldError, z } from "@layerfold/core";
import { resolved } from "./read-recipe.js";
import { type Recipe, recipeSchemas } from "./recipe-schema.js";
import { checkedBy, type Locate, readYaml } from "./yaml-file.js";

const names = z.array(z.string()).min(1, "an empty list makes an empty grid");
const tokens = z.number().int().min(2);

const schema = z.strictObject({
  model: z.string(),
  calibration: z.string(),
  evaluate: z.string().optional(),
  questions: z.string().optional(),
  window: tokens.optional(),
  maxTokens: tokens.optional(),
  calibrationTokens: tokens.optional(),
  selfTemperature: z.number().positive().optional(),
  pooling: z.string().default("last"),
  measures: names.default(["npib"]),
  /** Embedding before a measure, by the measure's name; absent: the measure's own. */
  embeddings: z.record(z.string(), z.string()).default({}),
  planners: names,
  strategies: names.default(["weighted"]),
  /** `none` = no repair. */
  repairs: names.default(["none"]),
  /** Layers that remain. */
  layers: z.array(z.number().int().min(1)).min(1, "an empty list makes an empty grid"),
});

/** The recipe that a file of `layerfold ablate` stands for, in its own shorter keys; paths are resolved. */
export async function readAblationRecipe(
  file: string,
): Promise<{ readonly recipe: Recipe; readonly locate: Locate }> {
  const yaml = await readYaml(file);
  const checked = checkedBy(schema, yaml, () => Object.keys(schema.shape));
  if ("problems" in checked) throw checked.problems[0];
  const recipe = resolved(recipeOf(checked.value), file);
  const whole = recipeSchemas.code.safeParse(recipe);
  if (whole.success) return { recipe: whole.data, locate: yaml.locate };
  const [issue] = whole.error.issues;
  throw new LayerfoldError("RECIPE_INVALID", issue.message, { where: yaml.locate(issue.path) });
}

function recipeOf(given: z.output<typeof schema>): Recipe {
  const { model, calibration, evaluate, questions, window, maxTokens, pooling } = given;
  const { calibrationTokens, selfTemperature, measures, embeddings } = given;
  const { planners, strategies, repairs, layers } = given;
  return {
    model,
    calibration: {
      text: calibration,
      tokens: calibrationTokens,
      window,
      self_temperature: selfTemperature,
      pooling,
    },
    evaluate: {
      texts: evaluate === undefined ? undefined : [evaluate],
      questions,
      window,
      max_tokens: maxTokens,
    },
    measures: measures.map((id) => (id in embeddings ? { id, embedding: embeddings[id] } : id)),
    ...{ planners, strategies, repairs, layers },
    rows: ["fold"],
    report: "ablation",
  };
}
