import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { LayerfoldError } from "@layerfold/core";
import { fileError } from "./file-error.js";
import { refuseLfsPointer } from "./lfs-pointer.js";

/** A checkpoint's tokenizer; gives the ids that transformers gives. */
export interface Tokenizer {
  /** @param options.addSpecialTokens - let the tokenizer add what it adds by itself (often a begin token); default false */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** @param options.skipSpecialTokens - default false */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token by its exact spelling. */
  idOf(token: string): number | undefined;
  readonly beginId?: number;
  readonly endId?: number;
  readonly padId?: number;
  /** Whether `addSpecialTokens` puts the begin token in front. */
  readonly addsBeginToken: boolean;
  /** Jinja source of the chat template, where there is one. */
  readonly chatTemplate?: string;
}

type Json = Record<string, unknown>;

/**
 * Opens the tokenizer of a checkpoint folder: tokenizer.json, and the names of the special tokens from tokenizer_config.json,
 * special_tokens_map.json or (as ids) config.json, whichever says so first.
 * @throws TOKENIZER_MISSING where there is no tokenizer.json, TOKENIZER_INVALID where it cannot be used
 */
export async function openTokenizer(directory: string): Promise<Tokenizer> {
  const file = join(directory, "tokenizer.json");
  const model = await readOptional(file);
  if (!model) {
    throw new LayerfoldError("TOKENIZER_MISSING", "the checkpoint has no tokenizer", {
      wanted: "tokenizer.json (transformers' AutoTokenizer saves one with save_pretrained)",
      where: directory,
    });
  }
  const [settings = {}, special = {}, config = {}] = await Promise.all(
    ["tokenizer_config.json", "special_tokens_map.json", "config.json"].map((name) =>
      readOptional(join(directory, name)),
    ),
  );
  let hub: HubTokenizer;
  try {
    hub = new HubTokenizer({ ...model, pre_tokenizer: unicodeDigits(model.pre_tokenizer) }, settings);
  } catch (cause) {
    throw new LayerfoldError("TOKENIZER_INVALID", (cause as Error).message, { where: file, cause });
  }
  const specialId = (name: "bos" | "eos" | "pad") => {
    const token = settings[`${name}_token`] ?? special[`${name}_token`];
    const spelled = typeof token === "string" ? token : (token as Json | undefined | null)?.content;
    if (typeof spelled === "string") {
      const id = hub.token_to_id(spelled);
      if (id !== undefined) return id;
    }
    const id = [config[`${name}_token_id`]].flat()[0];
    return typeof id === "number" && id >= 0 ? id : undefined;
  };
  const beginId = specialId("bos");
  const encode = (text: string, addSpecialTokens = false) =>
    hub.encode(text, { add_special_tokens: addSpecialTokens }).ids;
  return {
    encode: (text, options) => encode(text, options?.addSpecialTokens),
    decode: (ids, options) =>
      hub.decode(Array.from(ids), { skip_special_tokens: options?.skipSpecialTokens ?? false }),
    idOf: (token) => hub.token_to_id(token),
    beginId,
    endId: specialId("eos"),
    padId: specialId("pad"),
    addsBeginToken: beginId !== undefined && encode("a", true)[0] === beginId,
    chatTemplate: await chatTemplateOf(directory, settings),
  };
}

/**
 * The library's `Digits` step takes ASCII digits alone, the reference (Rust's `char::is_numeric`) every number, ½ and ² too: the
 * same said as a `Split`.
 */
function unicodeDigits(step: unknown): unknown {
  if (typeof step !== "object" || step === null) return step;
  const { type, pretokenizers, individual_digits: individual } = step as Json;
  if (type === "Digits") {
    const pattern = { Regex: individual ? "\\p{N}" : "\\p{N}+" };
    return { type: "Split", pattern, behavior: "Isolated", invert: false };
  }
  return Array.isArray(pretokenizers) ? { ...step, pretokenizers: pretokenizers.map(unicodeDigits) } : step;
}

async function chatTemplateOf(directory: string, settings: Json): Promise<string | undefined> {
  const jinja = await readFile(join(directory, "chat_template.jinja"), "utf8").catch(() => undefined);
  if (jinja !== undefined) return jinja;
  const template =
    (await readOptional(join(directory, "chat_template.json")))?.chat_template ?? settings.chat_template;
  if (typeof template === "string") return template;
  // A list of named templates: the default one.
  const named = Array.isArray(template) ? template.find((entry) => entry?.name === "default") : undefined;
  return named?.template;
}

async function readOptional(file: string): Promise<Json | undefined> {
  try {
    const text = await readFile(file, "utf8");
    refuseLfsPointer(text, file);
    return JSON.parse(text);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    if (!(cause instanceof SyntaxError)) throw fileError(cause, file);
    throw new LayerfoldError("TOKENIZER_INVALID", "not JSON", { got: cause.message, where: file, cause });
  }
}
