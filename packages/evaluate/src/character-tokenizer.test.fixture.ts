import type { Tokenizer } from "@layerfold/checkpoint";

/** One token per character with the space before it (" A" is one token), ids as they come, a begin token 0 if asked for. */
export function characterTokenizer(spaces: "joined" | "apart" = "joined"): Tokenizer {
  const ids = new Map<string, number>([["<begin>", 0]]);
  const id = (token: string) => {
    if (!ids.has(token)) ids.set(token, ids.size);
    return ids.get(token)!;
  };
  return {
    encode(text, { addSpecialTokens = false } = {}) {
      const tokens = text.match(spaces === "joined" ? / ?[^ ]| /gsu : /./gsu) ?? [];
      return [...(addSpecialTokens ? [0] : []), ...tokens.map(id)];
    },
    decode: () => "",
    idOf: (token) => ids.get(token),
    beginId: 0,
    addsBeginToken: true,
  };
}
