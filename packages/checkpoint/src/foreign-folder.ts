import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { LayerfoldError } from "@layerfold/core";

/**
 * Names a folder that is no checkpoint but is often taken for one, and says what makes a checkpoint of it.
 *
 * @param given - the folder as the user wrote it
 * @param names - what lies in it; undefined where there is none
 * @throws CHECKPOINT_MISSING for a hub's name without `hf:`; CHECKPOINT_ADAPTER for a LoRA adapter
 */
export async function refuseForeignFolder(
  given: string,
  names: readonly string[] | undefined,
): Promise<void> {
  if (!names && /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(given)) {
    throw new LayerfoldError("CHECKPOINT_MISSING", "there is no such folder", {
      wanted: `a folder, or hf:${given} for the model of that name on the hub`,
      where: given,
    });
  }
  if (!names?.some((name) => /^adapter_(config\.json|model\.(safetensors|bin))$/.test(name))) return;
  const base = await baseModel(join(given, "adapter_config.json"));
  throw new LayerfoldError("CHECKPOINT_ADAPTER", "the folder holds an adapter (LoRA), not a model", {
    wanted:
      `${base ?? "its base model"} with the adapter merged into it, by Python: ` +
      `AutoPeftModelForCausalLM.from_pretrained("${given}").merge_and_unload().save_pretrained("OUT")`,
    where: given,
  });
}

async function baseModel(file: string): Promise<string | undefined> {
  try {
    const name: unknown = JSON.parse(await readFile(file, "utf8")).base_model_name_or_path;
    return typeof name === "string" ? name : undefined;
  } catch {
    // The error that names the adapter can do without.
    return undefined;
  }
}
