import type { Family } from "./family.js";

/** What a layer's names begin with. */
export type LayerNaming = Pick<Family, "basePrefix" | "layerPrefix">;

function match({ basePrefix, layerPrefix }: LayerNaming, name: string) {
  for (const prefix of [basePrefix + layerPrefix, layerPrefix]) {
    if (!name.startsWith(prefix)) continue;
    const number = /^(0|[1-9]\d*)(?=\.|$)/.exec(name.slice(prefix.length));
    if (number)
      return { prefix, layer: Number(number[1]), rest: name.slice(prefix.length + number[1].length) };
  }
  return undefined;
}

/**
 * The layer that a tensor (or module) belongs to; undefined outside the blocks.
 *
 * @example
 * ```ts
 * const gpt2 = familyOf({ model_type: "gpt2" });
 * assert(layerOf(gpt2, "transformer.h.3.ln_1.weight") === 3);
 * assert(renamedTensor(gpt2, "h.3.ln_1.weight", 1) === "h.1.ln_1.weight");
 * assert(layerOf(gpt2, "transformer.wte.weight") === undefined);
 * ```
 */
export function layerOf(family: LayerNaming, name: string): number | undefined {
  return match(family, name)?.layer;
}

/** The name that a tensor (or module) of a block bears in layer `layer`; undefined outside the blocks. */
export function renamedTensor(family: LayerNaming, name: string, layer: number): string | undefined {
  const found = match(family, name);
  return found && `${found.prefix}${layer}${found.rest}`;
}
