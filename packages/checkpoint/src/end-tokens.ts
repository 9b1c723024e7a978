import { join } from "node:path";
import { isLayerfoldError, LayerfoldError, parseJson } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import type { Checkpoint } from "./checkpoint.js";
import { readConfig } from "./config-reader.js";
import type { ModelConfig } from "./family.js";
import { readTextFile } from "./text-file.js";
import type { Tokenizer } from "./tokenizer.js";

/**
 * Tokens that end a model's text: `eos_token_id` of generation_config.json, one or several, or where it names none of config.json; and
 * the tokenizer's end token.
 * @throws CONFIG_INVALID where generation_config.json is no JSON object or the field holds no token ids
 */
export async function endTokens(
  { directory, config }: Pick<Checkpoint, "directory" | "config">,
  tokenizer: Pick<Tokenizer, "endId">,
): Promise<number[]> {
  const named = endIds(await generationConfig(directory), "generation_config.json");
  const ids = named.length > 0 ? named : endIds(config, "config.json");
  return [...new Set(tokenizer.endId === undefined ? ids : [...ids, tokenizer.endId])];
}

function endIds(config: ModelConfig, where: string): number[] {
  const ids = [config.eos_token_id ?? []].flat();
  if (ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) return ids as number[];
  throw readConfig(config, where).invalid("eos_token_id", "a token id or a list of them");
}

async function generationConfig(directory: string): Promise<ModelConfig> {
  const file = join(directory, "generation_config.json");
  let value: unknown;
  try {
    value = parseJson(await readTextFile(file));
  } catch (cause) {
    if (isLayerfoldError(cause, "FILE_MISSING")) return {};
    if (!(cause instanceof SyntaxError)) throw fileError(cause, file);
    throw new LayerfoldError("CONFIG_INVALID", "not JSON", { got: cause.message, where: file, cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as ModelConfig;
  throw new LayerfoldError("CONFIG_INVALID", "not a JSON object", { where: file });
}
