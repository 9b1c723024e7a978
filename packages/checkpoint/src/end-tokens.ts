import { join } from "node:path";
import type { Checkpoint } from "./checkpoint.js";
import { readConfig } from "./config-reader.js";
import type { ModelConfig } from "./family.js";
import { ifThere, readJsonObject } from "./json-file.js";
import type { Tokenizer } from "./tokenizer.js";

/**
 * Tokens that end a model's text: `eos_token_id` of generation_config.json, one or several, or where it names none of config.json; and
 * the tokenizer's end token.
 * @throws CONFIG_INVALID where generation_config.json is no JSON object or the field holds no token ids; LFS_POINTER
 */
export async function endTokens(
  { directory, config }: Pick<Checkpoint, "directory" | "config">,
  tokenizer: Pick<Tokenizer, "endId">,
): Promise<number[]> {
  const file = join(directory, "generation_config.json");
  const generation = (await ifThere(readJsonObject(file, "CONFIG_INVALID"))) ?? {};
  const named = endIds(generation, "generation_config.json");
  const ids = named.length > 0 ? named : endIds(config, "config.json");
  return [...new Set(tokenizer.endId === undefined ? ids : [...ids, tokenizer.endId])];
}

function endIds(config: ModelConfig, where: string): number[] {
  const ids = [config.eos_token_id ?? []].flat();
  if (ids.every((id) => Number.isSafeInteger(id) && (id as number) >= 0)) return ids as number[];
  throw readConfig(config, where).invalid("eos_token_id", "a token id or a list of them");
}
