import {
  type AttentionSpec,
  type BlockSpec,
  type BlockView,
  type LayerFacts,
  LayerfoldError,
  type Matrix,
  type Role,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { takesScale } from "../attention-scale.js";
import {
  type BareLinear,
  firstReason,
  plainNorm,
  selectRows,
  specOf,
  stackRows,
  storedWeight,
  transposed,
  weightOf,
  whyNormStays,
  withoutNorm,
  withTensors,
} from "./block-linear.js";
import { neuronsOf, withNeurons } from "./neurons.js";

/** One key/value head with its query heads, behind a norm of gain 1. */
export interface HeadGroup {
  /** [queries · headSize, hidden], [headSize, hidden], [headSize, hidden] */
  readonly query: BareLinear;
  readonly key: BareLinear;
  readonly value: BareLinear;
}

/** Why heads of other layers cannot stand beside the block's own; undefined where they can. */
export function whyHeadsStay({ mixer, mixerPostNorm, mixerSumNorm }: BlockSpec): string | undefined {
  return mixer.kind !== "attention"
    ? "it has no attention"
    : mixer.queryKeyNorm?.over === "projection"
      ? "queries and keys pass a norm over all heads"
      : mixerPostNorm || mixerSumNorm
        ? "a norm stands between its output projection and the stream"
        : undefined;
}

/** Why heads of these layers cannot stand in one block behind a norm of gain 1; undefined where they can. */
export function whyHeadsStayApart(layers: readonly LayerFacts[]): string | undefined {
  const roles = ["attention.query", "attention.key", "attention.value", "attention.qkv"];
  const reason = firstReason(layers, (layer) => {
    const stays = whyHeadsStay(layer.spec);
    return stays === undefined ? whyNormStays(layer, roles, layer.spec.mixerNorm) : headsStay(stays);
  });
  if (reason !== undefined) return reason;
  const [first, ...others] = layers.map(({ spec }) => describeAttention(spec.mixer as AttentionSpec));
  const other = others.find((text) => text !== first);
  return other === undefined ? undefined : `${notInOneBlock}: ${first} and ${other}`;
}

function headsStay(reason: string): string {
  return `the block's heads cannot be folded: ${reason}`;
}

/**
 * The block's attention, where heads of different layers can stand side by side.
 * @throws REPAIR_UNSUPPORTED
 */
export function attentionOf(block: BlockView): AttentionSpec {
  const spec = specOf(block);
  const { mixer } = spec;
  const reason = whyHeadsStay(spec);
  if (mixer.kind !== "attention" || reason !== undefined) {
    throw new LayerfoldError("REPAIR_UNSUPPORTED", headsStay(`${reason}`), {
      wanted: 'heads: "none"',
      where: `layer ${block.layer} (${block.type})`,
    });
  }
  return mixer;
}

/** Takes attention apart into its key/value groups, the norm's gain moved in. @throws REPAIR_UNSUPPORTED, BLOCK_SPEC_MISSING */
export function headGroupsOf(block: BlockView): HeadGroup[] {
  const spec = specOf(block);
  const { headCount, keyValueHeadCount, headSize, projection } = attentionOf(block);
  const queries = (headCount / keyValueHeadCount) * headSize;
  const linear = (role: Role) => withoutNorm(block, role, spec.mixerNorm);
  if (projection === "separate") {
    const [query, key, value] = ["attention.query", "attention.key", "attention.value"].map(linear);
    return Array.from({ length: keyValueHeadCount }, (_, c) => ({
      query: part(query, c * queries, queries),
      key: part(key, c * headSize, headSize),
      value: part(value, c * headSize, headSize),
    }));
  }
  const all = linear("attention.qkv");
  return Array.from({ length: keyValueHeadCount }, (_, c) => {
    if (projection === "fused-per-head") {
      const start = c * (queries + 2 * headSize);
      return {
        query: part(all, start, queries),
        key: part(all, start + queries, headSize),
        value: part(all, start + queries + headSize, headSize),
      };
    }
    const keys = headCount * headSize;
    return {
      query: part(all, c * queries, queries),
      key: part(all, keys + c * headSize, headSize),
      value: part(all, keys + (keyValueHeadCount + c) * headSize, headSize),
    };
  });
}

function part({ weight, bias }: BareLinear, start: number, count: number): BareLinear {
  const rows = Array.from({ length: count }, (_, i) => start + i);
  return { weight: selectRows(weight, rows), bias: bias?.slice(start, start + count) };
}

function join(parts: readonly BareLinear[]): BareLinear {
  return {
    weight: stackRows(parts.map(({ weight }) => weight)),
    bias: parts[0].bias && Float32Array.from(parts.flatMap(({ bias }) => [...bias!])),
  };
}

/**
 * The tensors of an attention with these key/value groups behind a norm of gain 1.
 * @param output - [groups · queries · headSize, hidden]: what each head's value adds to the stream
 */
export function headTensors(
  block: BlockView,
  groups: readonly HeadGroup[],
  output: Matrix<Float32Array>,
): [Role, Tensor][] {
  const spec = specOf(block);
  const { projection } = attentionOf(block);
  const [query, key, value] = (["query", "key", "value"] as const).map((field) =>
    groups.map((group) => group[field]),
  );
  const linears: [Role, BareLinear][] =
    projection === "separate"
      ? [
          ["attention.query", join(query)],
          ["attention.key", join(key)],
          ["attention.value", join(value)],
        ]
      : projection === "fused"
        ? [["attention.qkv", join([...query, ...key, ...value])]]
        : [["attention.qkv", join(groups.flatMap((group) => [group.query, group.key, group.value]))]];
  const result: [Role, Tensor][] = [
    ...plainNorm(block, spec.mixerNorm),
    ["attention.output", storedWeight(spec, transposed(output))],
  ];
  for (const [role, { weight, bias }] of linears) {
    result.push([role, storedWeight(spec, weight)]);
    if (bias) result.push([`${role}.bias`, tensor(bias)]);
  }
  return result;
}

/**
 * A layer whose queries and keys pass the norms of another block, whose place its heads may take: a block has one gain for all its heads,
 * and behind it positions are turned, so that it cannot move into the projections.
 */
export function withQueryKeyNormOf(anchor: BlockView, layer: BlockView): BlockView {
  const { queryKeyNorm } = attentionOf(anchor);
  const roles = [queryKeyNorm?.query, queryKeyNorm?.key].flatMap((norm) => [norm?.weight, norm?.bias]);
  return withTensors(
    layer,
    roles.flatMap((role) => {
      const found = role === undefined ? undefined : anchor.tensors.get(role);
      return role !== undefined && found ? [[role, found] as const] : [];
    }),
  );
}

/**
 * The block, able to take neurons that stand behind a norm of gain 1: where its MLP reads through the attention's norm, that norm's gain
 * moves into the attention's projections.
 */
export function readsPlainNorm(block: BlockView): BlockView {
  if (specOf(block).feedForwardNorm) return block;
  return withTensors(block, headTensors(block, headGroupsOf(block), headOutputs(block)));
}

/** The block with as many other key/value groups, behind a norm of gain 1; an MLP that reads through that norm adds what it did. */
export function withHeadGroups(block: BlockView, groups: readonly HeadGroup[]): BlockView {
  const result = withTensors(block, headTensors(block, groups, headOutputs(block)));
  return specOf(block).feedForwardNorm ? result : withNeurons(result, neuronsOf(block));
}

/** [heads · headSize, hidden]: the output projection, transposed. */
export function headOutputs(block: BlockView): Matrix<Float32Array> {
  return transposed(weightOf(block, "attention.output"));
}

const notInOneBlock = "heads of these layers cannot stand in one block";

/** What must agree for heads to run alike in one block; a scale that the queries take in need not. */
function describeAttention(attention: AttentionSpec): string {
  const { softcap, slidingWindow, headCount, keyValueHeadCount, headSize } = attention;
  const scale = takesScale(attention) ? undefined : attention.scale;
  return JSON.stringify({ scale, softcap, slidingWindow, headCount, keyValueHeadCount, headSize });
}

/** @throws REPAIR_UNSUPPORTED when heads of the two layers would not run alike in one block */
export function checkSameAttention(a: BlockView, b: BlockView): void {
  const [wanted, got] = [a, b].map((block) => describeAttention(attentionOf(block)));
  if (wanted === got) return;
  throw new LayerfoldError("REPAIR_UNSUPPORTED", notInOneBlock, {
    wanted,
    got,
    where: `layers ${a.layer} and ${b.layer}`,
  });
}
