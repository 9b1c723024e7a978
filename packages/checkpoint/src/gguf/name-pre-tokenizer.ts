import { createHash } from "node:crypto";
import { LayerfoldError } from "@layerfold/core";
import { hubTokenizer } from "../tokenizer.js";
import { preTokenizerHashes, preTokenizerProbe } from "./pre-tokenizer-hashes.js";
import { type PreTokenizer, preTokenizers } from "./pre-tokenizers.js";

type Json = Record<string, unknown>;

/** What the probe leaves open: digits that are not ASCII, capitals within words, line ends of several kinds, signs beside letters. */
const furtherProbe =
  "½ x² ٣٤٥ Ⅷ parseHTML iPhone DON'T can't we'll THEY'RE \r\nline\r\n\r\n\tif(a<=b){return c[0];} https://a.b/c?d=e&f=%20 naïve Ünïcode 日本語のテキスト 한국어 ไทย x_y-z 'tis ''quoted'' 1,234.56 $5 50% a\u3000b\u00a0c";

/**
 * The name by which llama.cpp cuts text as this byte-level tokenizer does: by its hash where it is a published one, else by how it cuts.
 * @param tokenizer - tokenizer.json
 * @param encode - the ids that it gives, with what it adds by itself
 * @throws GGUF_TOKENIZER where it cuts as nothing that is known
 */
export function namePreTokenizer(
  tokenizer: Json,
  encode: (text: string) => readonly number[],
  where: string,
): string {
  const spelled = `[${encode(preTokenizerProbe).join(", ")}]`;
  const published = preTokenizerHashes[createHash("sha256").update(spelled).digest("hex")];
  if (published) return published;
  const model = tokenizer.model as Json;
  const ignoresMerges = Boolean(model.ignore_merges);
  const wanted = cutsOf(tokenizer.pre_tokenizer);
  const found = Object.entries(preTokenizers).find(
    ([name, known]) => name !== "default" && fits(known, wanted, ignoresMerges),
  );
  if (found && normalizesAtMost(tokenizer.normalizer)) return found[0];
  throw new LayerfoldError(
    "GGUF_TOKENIZER",
    "llama.cpp has no pre-tokenizer that cuts text as this one does",
    {
      wanted: `one of ${Object.keys(preTokenizers).join(", ")}`,
      got: JSON.stringify({ normalizer: tokenizer.normalizer, pre_tokenizer: tokenizer.pre_tokenizer }).slice(
        0,
        200,
      ),
      where,
    },
  );
}

const knownCuts = new Map<PreTokenizer["cut"], string>();

function fits({ cut, ignoreMerges = false }: PreTokenizer, wanted: string, ignoresMerges: boolean): boolean {
  if (ignoreMerges !== ignoresMerges) return false;
  const known = knownCuts.get(cut) ?? cutsOf(cut);
  knownCuts.set(cut, known);
  return known === wanted;
}

/** The pieces into which the probes are cut. */
function cutsOf(step: unknown): string {
  const { pre_tokenizer: cutter } = stepsAlone({ pre_tokenizer: step });
  return JSON.stringify(
    [preTokenizerProbe, furtherProbe].map(
      (text) => cutter?.pre_tokenize_text(text.normalize("NFC"), {}) ?? text,
    ),
  );
}

/** Whether text stays as it is, but for composed letters, which every known family leaves to llama.cpp's users. */
function normalizesAtMost(step: unknown): boolean {
  const { normalizer } = stepsAlone({ normalizer: step });
  const composed = `${preTokenizerProbe}${furtherProbe}ﬁ Ａ`.normalize("NFC");
  return !normalizer || normalizer.normalize(composed) === composed;
}

/** A tokenizer that is nothing but some of its steps. */
function stepsAlone(steps: { readonly normalizer?: unknown; readonly pre_tokenizer?: unknown }) {
  const model = { type: "BPE", vocab: {}, merges: [] };
  const none = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  return hubTokenizer({ ...none, added_tokens: [], model, ...steps }, {});
}
