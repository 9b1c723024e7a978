import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { isLayerfoldError, LayerfoldError } from "@layerfold/core";
import { ifThere, readJsonObject } from "./json-file.js";
import { readTextFile } from "./text-file.js";
import { withinTime } from "./time-limit.js";

/** A checkpoint's tokenizer; gives the ids that transformers gives. */
export interface Tokenizer {
  /**
   * @param options.addSpecialTokens - let the tokenizer add what it adds by itself (often a begin token); default false
   * @throws TOKENIZER_INVALID, TOKENIZER_SLOW
   */
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): number[];
  /** @param options.skipSpecialTokens - default false. @throws TOKENIZER_INVALID, TOKENIZER_SLOW */
  decode(ids: ArrayLike<number>, options?: { readonly skipSpecialTokens?: boolean }): string;
  /** Id of a token by its exact spelling. */
  idOf(token: string): number | undefined;
  readonly beginId?: number | undefined;
  readonly endId?: number | undefined;
  readonly padId?: number | undefined;
  /** Whether `addSpecialTokens` puts the begin token in front. */
  readonly addsBeginToken: boolean;
  /** Jinja source of the chat template, where there is one. */
  readonly chatTemplate?: string | undefined;
}

/**
 * A prompt's token ids, with what the tokenizer adds by itself; but a begin token that the text already begins with, as every rendered
 * chat template does, is not added a second time. `ownBegin`: that it was not.
 */
export function promptIds(tokenizer: Tokenizer, text: string): { ids: number[]; ownBegin: boolean } {
  const ids = tokenizer.encode(text, { addSpecialTokens: true });
  const { beginId, addsBeginToken } = tokenizer;
  const ownBegin = addsBeginToken && ids[0] === beginId && ids[1] === beginId;
  return { ids: ownBegin ? ids.slice(1) : ids, ownBegin };
}

type Json = Record<string, unknown>;

export interface TokenizerOptions {
  /** Seconds that a text may take, and 0.1 ms more for every character; default 20. */
  readonly timeLimit?: number;
}

/**
 * Opens the tokenizer of a checkpoint folder: tokenizer.json, and the names of the special tokens from tokenizer_config.json,
 * special_tokens_map.json or (as ids) config.json, whichever says so first.
 * @throws TOKENIZER_MISSING where there is no tokenizer.json, LFS_POINTER, TOKENIZER_INVALID where it cannot be used
 */
export async function openTokenizer(
  directory: string,
  { timeLimit = 20 }: TokenizerOptions = {},
): Promise<Tokenizer> {
  const file = join(directory, "tokenizer.json");
  const model = await readIfThere(file);
  if (!model) {
    throw new LayerfoldError("TOKENIZER_MISSING", "the checkpoint has no tokenizer", {
      wanted: "tokenizer.json (transformers' AutoTokenizer saves one with save_pretrained)",
      where: directory,
    });
  }
  // One after the other: where a file is refused, no other is open still.
  const settings = (await readIfThere(join(directory, "tokenizer_config.json"))) ?? {};
  const special = (await readIfThere(join(directory, "special_tokens_map.json"))) ?? {};
  const config = (await readIfThere(join(directory, "config.json"))) ?? {};
  /** The library trusts its file: what is wrong in it shows as any error, some of it at the first text only. */
  function ask<T>(work: () => T, length = 0): T {
    const seconds = timeLimit + 1e-4 * length;
    const slow = () =>
      new LayerfoldError(
        "TOKENIZER_SLOW",
        "the tokenizer does not come to an end; one of its patterns may backtrack",
        {
          wanted: `${seconds.toFixed(1)} s at most for ${length} characters`,
          where: file,
        },
      );
    try {
      return withinTime(seconds, work, slow);
    } catch (cause) {
      if (isLayerfoldError(cause)) throw cause;
      const reason = String(cause instanceof Error ? cause.message : cause).replaceAll(/\s+/g, " ");
      throw new LayerfoldError("TOKENIZER_INVALID", `the tokenizer cannot be used: ${reason}`, {
        where: file,
        cause,
      });
    }
  }
  const hub = ask(() => hubTokenizer(model, settings));
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
    ask(() => {
      const { ids } = hub.encode(text, { add_special_tokens: addSpecialTokens });
      const odd = ids.findIndex((id: unknown) => !Number.isSafeInteger(id) || (id as number) < 0);
      if (odd < 0) return ids;
      throw new Error(`it gives a token the id ${ids[odd]}`);
    }, text.length);
  return {
    encode: (text, options) => encode(text, options?.addSpecialTokens),
    decode: (ids, options) =>
      ask(
        // The library refuses to decode nothing.
        () =>
          ids.length === 0
            ? ""
            : hub.decode(Array.from(ids), { skip_special_tokens: options?.skipSpecialTokens ?? false }),
        ids.length,
      ),
    idOf: (token) => hub.token_to_id(token),
    beginId,
    endId: specialId("eos"),
    padId: specialId("pad"),
    addsBeginToken: beginId !== undefined && encode("a", true)[0] === beginId,
    chatTemplate: await chatTemplateOf(directory, settings),
  };
}

/** The library's tokenizer of a tokenizer.json and a tokenizer_config.json. @throws any error */
export function hubTokenizer(model: Json, settings: Json): HubTokenizer {
  return new HubTokenizer({ ...model, pre_tokenizer: unicodeDigits(model.pre_tokenizer) }, settings);
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

function readIfThere(file: string): Promise<Json | undefined> {
  return ifThere(readJsonObject(file, "TOKENIZER_INVALID"));
}

async function chatTemplateOf(directory: string, settings: Json): Promise<string | undefined> {
  const jinja = await ifThere(readTextFile(join(directory, "chat_template.jinja")));
  if (jinja !== undefined) return jinja;
  const template =
    (await readIfThere(join(directory, "chat_template.json")))?.chat_template ?? settings.chat_template;
  if (typeof template === "string") return template;
  // A list of named templates: the default one.
  const named = Array.isArray(template) ? template.find((entry) => entry?.name === "default") : undefined;
  return typeof named?.template === "string" ? named.template : undefined;
}
