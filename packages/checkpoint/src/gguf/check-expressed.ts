import {
  type Architecture,
  type BlockSpec,
  LayerfoldError,
  type NormSpec,
  type RotarySpec,
} from "@layerfold/core";
import { architectureOf } from "../families.js";
import { configOfGguf } from "./config-of-gguf.js";
import type { GgmlType } from "./dequantize.js";
import type { GgufArchitecture } from "./gguf-architecture.js";
import type { GgufFile, GgufTensor } from "./read-gguf.js";
import type { GgufEntry } from "./write-header.js";

/** Numbers go through float32, and frequencies through a few roundings of it. */
const tolerance = 2e-6;

/**
 * Reads the entries of a model as the importer reads them, and holds the architecture that comes out against the model's own: whatever a file
 * of this architecture cannot say (which layers slide, an activation, which layers have no rotary embedding) shows as a difference.
 *
 * @returns for each layer what its queries must be multiplied by, because llama.cpp takes another attention scale for granted; mostly 1
 * @throws GGUF_CANNOT_EXPRESS naming the first difference
 */
export async function checkExpressed(
  entries: ReadonlyMap<string, GgufEntry>,
  tensors: readonly { readonly name: string; readonly shape: readonly number[]; readonly type: GgmlType }[],
  rope: ReadonlyMap<string, Float32Array>,
  { name }: GgufArchitecture,
  wanted: Architecture,
  where: string,
): Promise<number[]> {
  const metadata: Record<string, unknown> = { "general.architecture": name };
  for (const [key, { type, value }] of entries) {
    const rounded = type === "float32" && typeof value === "number" ? Math.fround(value) : value;
    metadata[key] = rounded;
  }
  const gguf: GgufFile = {
    metadata,
    tensors: new Map<string, GgufTensor>(tensors.map((tensor) => [tensor.name, tensor])),
    read: async (tensor) => rope.get(tensor)!,
    close: async () => {},
  };
  const { config } = await configOfGguf(gguf, where);
  const longest = Number(metadata[`${name}.context_length`]);
  const read = architectureOf(config);
  const difference = firstDifference(factsOf(wanted, longest), factsOf(read, longest), "");
  if (!difference) return wanted.blocks.map((block, layer) => queryFactor(block, read.blocks[layer]));
  throw new LayerfoldError(
    "GGUF_CANNOT_EXPRESS",
    `llama.cpp would run this model otherwise: ${difference.path}`,
    {
      wanted: difference.wanted,
      got: `${difference.got} is what a GGUF file of the architecture ${name} comes to`,
      where,
    },
  );
}

function queryFactor({ mixer: wanted }: BlockSpec, { mixer: read }: BlockSpec): number {
  if (wanted.kind !== "attention" || read.kind !== "attention") return 1;
  const factor = wanted.scale / read.scale;
  return Math.abs(factor - 1) <= tolerance ? 1 : factor;
}

/** What an architecture computes for texts up to a length, without names. */
function factsOf(
  { hiddenSize, vocabularySize, blocks, embedding, finalNorm, head }: Architecture,
  longest: number,
) {
  return {
    hiddenSize,
    vocabularySize,
    embedding: {
      scale: embedding.scale ?? 1,
      projected: embedding.projection !== undefined,
      positions: embedding.positions?.offset,
    },
    finalNorm: finalNorm && normFacts(finalNorm),
    head: {
      tied: head.tied,
      bias: head.bias !== undefined,
      projected: head.projection !== undefined,
      softcap: head.softcap,
      scale: head.scale ?? 1,
    },
    block: blocks.map((block) => blockFacts(block, longest)),
  };
}

function blockFacts({ mixer, ...block }: BlockSpec, longest: number) {
  const norm = (one: NormSpec | undefined) => one && normFacts(one);
  const { mixerNorm, mixerPostNorm, mixerSumNorm, feedForwardNorm, feedForwardPostNorm, feedForwardSumNorm } =
    block;
  return {
    roles: [...block.tensors.keys()].sort(),
    shapes: Object.fromEntries(block.shapes),
    linearLayout: block.linearLayout,
    residual: block.residual,
    residualScale: block.residualScale ?? 1,
    mixer:
      mixer.kind === "attention"
        ? {
            ...mixer,
            // What queries can make up for.
            scale: undefined,
            // A window as long as any text is none.
            slidingWindow:
              mixer.slidingWindow !== undefined && mixer.slidingWindow < longest
                ? mixer.slidingWindow
                : undefined,
            rotary: mixer.rotary && rotaryFacts(mixer.rotary, longest),
          }
        : mixer,
    feedForward: block.feedForward,
    norms: [
      mixerNorm,
      mixerPostNorm,
      mixerSumNorm,
      feedForwardNorm,
      feedForwardPostNorm,
      feedForwardSumNorm,
    ].map(norm),
  };
}

function normFacts({ kind, epsilon, weightOffset, weight, bias }: NormSpec) {
  return { kind, epsilon, weightOffset, weight: weight !== undefined, bias: bias !== undefined };
}

function rotaryFacts(
  { parameters: _, inverseFrequenciesFor, inverseFrequencies, ...rotary }: RotarySpec,
  longest: number,
) {
  return {
    ...rotary,
    inverseFrequencies: [...inverseFrequencies],
    ofLongTexts: [...(inverseFrequenciesFor?.(longest) ?? inverseFrequencies)],
  };
}

interface Difference {
  readonly path: string;
  readonly wanted: string;
  readonly got: string;
}

function firstDifference(wanted: unknown, got: unknown, path: string): Difference | undefined {
  if (typeof wanted === "number" && typeof got === "number") {
    const near = Math.abs(wanted - got) <= tolerance * Math.max(Math.abs(wanted), Math.abs(got));
    return near ? undefined : difference(wanted, got, path);
  }
  if (typeof wanted !== "object" || typeof got !== "object" || wanted === null || got === null)
    return wanted === got ? undefined : difference(wanted, got, path);
  for (const key of new Set([...Object.keys(wanted), ...Object.keys(got)])) {
    const inner = Array.isArray(wanted) ? `${path} ${key}` : path === "" ? key : `${path}, ${key}`;
    const found = firstDifference(
      (wanted as Record<string, unknown>)[key],
      (got as Record<string, unknown>)[key],
      inner,
    );
    if (found) return found;
  }
  return undefined;
}

function difference(wanted: unknown, got: unknown, path: string): Difference {
  const text = (value: unknown) => (value === undefined ? "none" : JSON.stringify(value));
  return { path, wanted: text(wanted), got: text(got) };
}
