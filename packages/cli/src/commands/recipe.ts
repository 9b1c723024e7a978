import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { writeWholeFile } from "@layerfold/disk";
import { readRecipe, recipeJsonSchema, recipeTemplate, runRecipe, validateRecipe } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command, memoryOption, withDevice, withWorkers } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { judgedTable, resultTable } from "../table.js";

interface RecipeOptions extends CommonOptions {
  readonly out?: string;
  readonly force?: boolean;
}

export function recipeCommand(signal: AbortSignal): Command {
  return withWorkers(
    withDevice(
      command(
        "run",
        "Run a recipe: a model, its texts, and a list on every axis of a grid; or run again what a manifest.json tells of.",
        "layerfold run recipe.yaml --out folded",
      ),
    ),
  )
    .argument("<recipe>", "YAML or JSON file (layerfold init writes one), or a run's manifest.json")
    .option("--out <folder>", "in the stead of the recipe's output")
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .option(
      "--store <location>",
      "where finished work is kept and found again, by this and by other commands: a folder, or s3://BUCKET/PREFIX (default: OUT.work)",
    )
    .option("--keep-work", "keep that folder when all is done (layerfold clean frees it)")
    .addOption(memoryOption())
    .action(async (file: string, { out, force, ...options }: RecipeOptions, self: Command) => {
      const recipe = await readRecipe(file);
      const given = self.getOptionValueSource("seed") === "cli";
      const seed = given ? options.seed : (recipe.recipe.seed ?? options.seed);
      const run = createCommandRun({ ...options, seed }, signal);
      const { plans: _, quality, cells, ...result } = await runRecipe(recipe, { out, force }, run);
      const written = result.out === undefined ? "" : ` → ${result.out}`;
      const { made, found } = result.tasks;
      const counted = `${made} tasks made, ${found} found done`;
      if (quality || cells) {
        const rows = quality?.rows ?? cells;
        run.terminal.result(quality ?? { cells }, `${rows?.length} rows (${counted})${written}`);
        return;
      }
      const { rows, notes, tasks } = result;
      run.terminal.result(
        { rows, notes, tasks },
        [resultTable(rows), judgedTable(rows)].filter(Boolean).join("\n"),
      );
      if (written !== "") run.terminal.say(`${counted}${written} (report.html, results.json, manifest.json)`);
    });
}

export function validateCommand(signal: AbortSignal): Command {
  return command(
    "validate",
    "Check a recipe without running it: keys, files, plug-ins and their options, layers, methods, the grid, the output.",
    "layerfold validate recipe.yaml",
  )
    .argument("<recipe>", "YAML or JSON file, or a run's manifest.json")
    .option("--out <folder>", "in the stead of the recipe's output")
    .option("--force", "as it will be run: the output may be replaced")
    .action(async (file: string, { out, force, ...options }: RecipeOptions) => {
      const run = createCommandRun(options, signal);
      const { problems, plans, rows, notes } = await validateRecipe(file, { out, force }, run);
      if (problems.length === 1) throw problems[0];
      if (problems.length > 1) {
        const listed = !options.json && !options.quiet;
        for (const { code, message } of listed ? problems : []) {
          run.terminal.report({ type: "diagnostic", severity: "warning", code, message });
        }
        throw new LayerfoldError("RECIPE_INVALID", `${problems.length} things are wrong`, {
          ...(!listed && { got: problems.map(({ code, message }) => `${code} ${message}`).join("; ") }),
          where: file,
        });
      }
      run.terminal.result(
        { plans, rows, notes },
        [`${file}: ${plans} plans, ${rows} rows beside the dense model's`, ...notes].join("\n"),
      );
    });
}

const schemaTitle = '"title": "layerfold recipe"';

/** @throws OUTPUT_EXISTS where a file stands that does not hold one of these */
async function refuseOthers(file: string, ours: readonly string[]): Promise<void> {
  const there = await stat(file).catch(() => undefined);
  if (!there) return;
  const text = there.isFile() ? await readFile(file, "utf8") : "";
  if (ours.some((mark) => text.includes(mark))) return;
  throw new LayerfoldError("OUTPUT_EXISTS", "a file stands there already", {
    wanted: "another name, or the file moved away",
    where: file,
  });
}

export function initCommand(signal: AbortSignal): Command {
  return command(
    "init",
    "Write a commented recipe to begin with, and its JSON Schema beside it, from which editors complete and check.",
    "layerfold init recipe.yaml",
  )
    .argument("[file]", "recipe to write", "recipe.yaml")
    .action(async (file: string, options: CommonOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const schema = join(dirname(file), "recipe.schema.json");
      const text = `${JSON.stringify(recipeJsonSchema(), null, 2)}\n`;
      await refuseOthers(file, []);
      // Another recipe in this folder has brought it already, perhaps an earlier version's.
      await refuseOthers(schema, [schemaTitle]);
      await writeWholeFile(file, recipeTemplate);
      await writeWholeFile(schema, text);
      run.terminal.result({ recipe: file, schema }, `→ ${file}, ${schema}`);
    });
}
