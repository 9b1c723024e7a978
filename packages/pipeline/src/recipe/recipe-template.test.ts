import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { knownKeys, recipeJsonSchema, recipeSchemas } from "./recipe-schema.js";
import { recipeTemplate } from "./recipe-template.js";

it("the template is a recipe, also with all that is commented out, and says every key", () => {
  expect(recipeSchemas.file.safeParse(parse(recipeTemplate)).error).toBeUndefined();
  for (const path of [[], ["calibration"], ["evaluate"]]) {
    for (const key of knownKeys(path)) expect(recipeTemplate).toMatch(new RegExp(`^\\s*(# )?${key}:`, "m"));
  }
  // A key that is commented out as it would stand, but for those that exclude one that is there.
  const whole = recipeTemplate.replaceAll(/^( *)# (- |[a-z_]+: )/gm, "$1$2").replace(/^ratios.*$/m, "");
  expect(recipeSchemas.file.safeParse(parse(whole)).error).toBeUndefined();
});

it("docs/recipes.md shows the template as it is written", async () => {
  const page = fileURLToPath(new URL("../../../../docs/recipes.md", import.meta.url));
  const [, shown] = /```yaml\n(.*?)```/s.exec(await readFile(page, "utf8"))!;
  expect(shown).toBe(recipeTemplate);
});

it("the JSON Schema describes every key, and knows no others", () => {
  const { properties, additionalProperties } = recipeJsonSchema() as {
    properties: Record<string, { description?: string }>;
    additionalProperties: boolean;
  };
  expect(additionalProperties).toBe(false);
  expect(Object.keys(properties)).toEqual(knownKeys([]));
  for (const [key, { description }] of Object.entries(properties)) expect(description, key).toBeTruthy();
});
