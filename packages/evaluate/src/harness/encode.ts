import type { Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { strip } from "./python-text.js";

/** Token ids of something and what goes on after it. */
export interface Sequence {
  readonly ids: readonly number[];
  /** Where what is scored begins; at least 1. */
  readonly from: number;
  /** Tokens that were cut off on the left. */
  readonly cut: number;
}

/** How the harness turns texts into tokens. */
export interface Encoder {
  /** A text with what the tokenizer adds by itself; a begin token that the text already begins with is not added again. */
  encode(text: string): number[];
  /** @throws QUESTION_TOO_LONG, CONTINUATION_EMPTY naming the document */
  pair(context: string, continuation: string, where: string): Sequence;
  /** Windows that do not overlap, each token with as much before it as its window has. */
  rolling(text: string): Sequence[];
  /** The end of a context, so that an answer has its place. */
  prompt(
    context: string,
    maxTokens: number,
    where: string,
  ): { readonly ids: readonly number[]; readonly cut: number };
}

/** @param contextLength - most tokens that the model sees at once */
export function encoder(tokenizer: Tokenizer, contextLength: number): Encoder {
  // Stands before what has nothing before it.
  const prefix = tokenizer.beginId ?? tokenizer.endId;
  const prefixText = prefix === undefined ? undefined : tokenizer.decode([prefix]);
  const known = new Map<string, number[]>();

  function encode(text: string): number[] {
    const begun = prefixText !== undefined && prefixText !== "" && text.startsWith(prefixText);
    return tokenizer.encode(text, { addSpecialTokens: !begun });
  }

  /** Choices mostly share their context, which may be long. */
  function encodeContext(text: string): number[] {
    const before = known.get(text);
    if (before) return before;
    if (known.size > 64) known.clear();
    const ids = encode(text);
    known.set(text, ids);
    return ids;
  }

  function cutLeft(ids: readonly number[], from: number, where: string): Sequence {
    const scored = ids.length - from;
    if (scored <= 0) {
      throw new LayerfoldError("CONTINUATION_EMPTY", "what is to be scored has no token", { where });
    }
    if (scored > contextLength) {
      throw new LayerfoldError(
        "QUESTION_TOO_LONG",
        "an answer is longer than all that the model sees at once",
        {
          wanted: `at most ${contextLength} tokens`,
          got: `${scored}`,
          where,
        },
      );
    }
    // The last token is a target alone and takes no place.
    const cut = Math.max(0, ids.length - contextLength - 1);
    return { ids: cut > 0 ? ids.slice(cut) : ids, from: from - cut, cut };
  }

  function requirePrefix(where: string): number {
    if (prefix !== undefined) return prefix;
    throw new LayerfoldError(
      "BEGIN_TOKEN_MISSING",
      "the tokenizer has neither a begin nor an end token to stand before a text",
      {
        where,
      },
    );
  }

  return {
    encode,
    pair(context, continuation, where) {
      if (context === "") {
        const ids = tokenizer.encode(continuation);
        const first = requirePrefix(where);
        return ids[0] === first ? cutLeft(ids, 1, where) : cutLeft([first, ...ids], 1, where);
      }
      // Spaces at the end of a context are the continuation's.
      const bare = strip(context, "right");
      const start = encodeContext(bare);
      if (start.length === 0) {
        throw new LayerfoldError("CONTEXT_EMPTY", "the context has no token", { where });
      }
      return cutLeft(encode(context + continuation), start.length, where);
    },
    rolling(text) {
      const tokens = encode(text);
      if (tokens.length === 0) return [];
      const first = Math.min(contextLength, tokens.length);
      const windows: Sequence[] = [
        { ids: [requirePrefix("a rolling perplexity"), ...tokens.slice(0, first)], from: 1, cut: 0 },
      ];
      for (let end = first; end < tokens.length; ) {
        const scored = Math.min(tokens.length - end, contextLength);
        end += scored;
        const ids = tokens.slice(Math.max(0, end - contextLength - 1), end);
        windows.push({ ids, from: ids.length - scored, cut: 0 });
      }
      return windows;
    },
    prompt(context, maxTokens, where) {
      const room = contextLength - maxTokens;
      if (room <= 0) {
        throw new LayerfoldError(
          "QUESTION_TOO_LONG",
          "an answer may be longer than all that the model sees at once",
          {
            wanted: `fewer than ${contextLength} tokens`,
            got: `${maxTokens}`,
            where,
          },
        );
      }
      const ids = encode(context);
      const cut = Math.max(0, ids.length - room);
      return { ids: cut > 0 ? ids.slice(cut) : ids, cut };
    },
  };
}
