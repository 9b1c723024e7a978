import { parsePooling } from "@layerfold/capture";
import type { Checkpoint, Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError, type MergePlan, type Repair } from "@layerfold/core";
import { checkRepair, compatibleLayers, layerFacts } from "@layerfold/merge";
import { checkQuantizable, type QuantizationScheme } from "@layerfold/quantize";
import { readAnswers } from "../calibration/read-calibration.js";
import { type EvaluationSet, readEvaluationSet } from "../evaluation/evaluation-set.js";
import type { WeighedAnswers } from "../evidence/judged-text.js";
import { makeScheme } from "../make-scheme.js";
import { evaluationRequest, workbenchRequest } from "../recipe/recipe-parts.js";
import type { Recipe, RowName } from "../recipe/recipe-schema.js";
import type { Locate } from "../recipe/yaml-file.js";
import { repairChoices } from "../repair-choices.js";
import type { Run } from "../run.js";
import { type GridCell, type GridCells, type GridMethod, gridCells } from "./cells.js";
import { type Variant, variantsOf } from "./variants.js";

/** What a grid is made of, but for the calibration text, which the model may have to make up. */
export interface GridInputs extends GridCells {
  readonly schemes: readonly QuantizationScheme[];
  readonly evaluationSet: EvaluationSet;
  readonly answers?: WeighedAnswers;
}

/** Ways in which a recipe's plans are carried out. */
export function rowsOfRecipe({ rows }: Recipe): readonly RowName[] {
  return rows ?? ["fold", "dropped"];
}

/**
 * Reads every input, so that a bad one is found before the first long computation.
 * @throws what `gridCells` throws, REPAIR_UNSUPPORTED, PLAN_MISMATCH, CALIBRATION_MISSING, and what reading texts and schemes throws
 */
export async function readGridInputs(
  recipe: Recipe,
  { checkpoint, tokenizer }: { readonly checkpoint: Checkpoint; readonly tokenizer: Tokenizer },
  run: Run,
  locate: Locate,
): Promise<GridInputs> {
  const { blocks, maxPositionEmbeddings: context } = checkpoint.architecture;
  const cells = await gridCells(recipe, blocks.length, run, locate);
  const schemes: QuantizationScheme[] = [];
  for (const name of recipe.quantize ?? []) {
    schemes.push(await makeScheme(name, checkpoint, recipe.embedding_bits && "compressed-tensors", run));
  }
  run.settings.assertUsed();
  await checkRepairs(recipe, cells.groups.flat(), checkpoint, run);
  const request = workbenchRequest(recipe);
  if (request.pooling !== undefined) parsePooling(request.pooling);
  const calibrated = request.calibration !== undefined;
  for (const scheme of schemes) checkQuantizable(checkpoint, { scheme, calibrated });
  const evaluationSet = await readEvaluationSet(evaluationRequest(recipe), context, tokenizer, run);
  const answers =
    request.calibrationQuestions === undefined
      ? undefined
      : await readAnswers(request.calibrationQuestions, { tokenizer, context }, request, run);
  const repairs = rowsOfRecipe(recipe).some((row) => row.endsWith("repair"));
  const needing = cells.groups
    .flat()
    .find(({ method: { planner, repair } }) => planner.needs.length > 0 || repair || repairs);
  if (needing && !calibrated) {
    throw new LayerfoldError(
      "CALIBRATION_MISSING",
      `the method ${needing.method.id} needs a calibration text`,
      { wanted: "--calibration FILE, or in a recipe calibration" },
    );
  }
  return { ...cells, schemes, evaluationSet, ...(answers && { answers }) };
}

/** Every repair against the layers; of a plan in a file, which is known already, against its groups. */
async function checkRepairs(
  recipe: Recipe,
  cells: readonly GridCell[],
  checkpoint: Checkpoint,
  run: Run,
): Promise<void> {
  const { architecture } = checkpoint;
  const layerCount = architecture.blocks.length;
  const compatible = (a: number, b: number) => compatibleLayers(architecture, a, b);
  let layers: Awaited<ReturnType<typeof layerFacts>> | undefined;
  for (const { method, target } of cells) {
    const given =
      method.planner.id === "given"
        ? await method.planner.plan({ layerCount, compatible }, target, run.ctx)
        : undefined;
    for (const repair of repairsOf(recipe, method)) {
      layers ??= await layerFacts(checkpoint);
      checkRepair(repair, layers, given?.groups, repairChoices(repair, { methods: true }));
    }
  }
}

function repairsOf(recipe: Recipe, method: GridMethod): readonly Repair[] {
  const anyPlan: MergePlan = { version: 1, num_hidden_layers: 1, groups: [{ layers: [0] }] };
  const variants = chosenVariants(recipe, { ...method, plan: anyPlan });
  return variants.flatMap(({ repair }) => (repair ? [repair] : []));
}

/** A plan carried out in each of the ways that a recipe shows. */
export function chosenVariants(
  recipe: Recipe,
  { plan, strategy, repair }: Pick<Variant, "plan" | "strategy" | "repair">,
): (Omit<Variant, "name"> & { readonly name: RowName })[] {
  const four = variantsOf(plan, { strategy, repair });
  return rowsOfRecipe(recipe).map((name) => {
    if (name !== "fold") return four.find((variant) => variant.name === name)!;
    return { name, own: true, plan, strategy, ...(repair && { repair }) };
  });
}
