import type { AttentionSpec, NormSpec } from "@layerfold/core";
import type { Value } from "@layerfold/onnx";
import type { BlockContext } from "./block-context.js";
import { blockLinear, inputWidth, outputWidth } from "./linear.js";
import { normalize } from "./norm.js";
import { plainAttention } from "./plain-attention.js";

/** GroupQueryAttention wants heads of a multiple of this; others are filled up with zeros, which add nothing to any product. */
const headMultiple = 8;

/** Causal self-attention of a block, on the normed stream: query heads share key/value heads in groups. */
export function attention(context: BlockContext, spec: AttentionSpec, x: Value): Value {
  const { graph, sequence } = context;
  const { headSize } = spec;
  const counts = headCounts(context, spec);
  const { headCount, keyValueHeadCount } = counts;
  let { query, key, value } = project(context, spec, headCount, keyValueHeadCount, x);
  if (spec.queryKeyNorm) {
    const norm = (values: Value, form: NormSpec, heads: number) => {
      if (spec.queryKeyNorm?.over === "projection") {
        return normalize(graph, values, form, heads * headSize, context.weight);
      }
      const split = reshape(context, values, [0, 0, heads, headSize]);
      return reshape(context, normalize(graph, split, form, headSize, context.weight), [
        0,
        0,
        heads * headSize,
      ]);
    };
    query = norm(query, spec.queryKeyNorm.query, headCount);
    key = norm(key, spec.queryKeyNorm.key, keyValueHeadCount);
  }
  if (spec.rotary) {
    const { cos, sin } = sequence.rotaryTable(spec.rotary);
    const { rotaryDimension, interleaved } = spec.rotary;
    const rotate = (values: Value, heads: number) =>
      graph.node("RotaryEmbedding", [values, sequence.positions, cos, sin], {
        contrib: true,
        ints: {
          num_heads: heads,
          interleaved: interleaved ? 1 : 0,
          rotary_embedding_dim: rotaryDimension === headSize ? 0 : rotaryDimension,
        },
      });
    query = rotate(query, headCount);
    key = rotate(key, keyValueHeadCount);
  }
  const parts = { query, key, value };
  const mixed =
    graph.device === "cpu" && !(sequence.visibility && spec.softcap !== undefined)
      ? groupQueryAttention(context, spec, counts, parts)
      : plainAttention(context, spec, counts, parts);
  const heads = context.tap("attention.heads", mixed, headCount * headSize);
  return blockLinear(context, heads, "attention.output");
}

/** ONNX Runtime's fused kernel: [batch, sequence, heads · size] of each to the same of the mixed values. */
function groupQueryAttention(
  context: BlockContext,
  spec: AttentionSpec,
  { headCount, keyValueHeadCount }: HeadCounts,
  { query, key, value }: { readonly query: Value; readonly key: Value; readonly value: Value },
): Value {
  const { graph, sequence, state } = context;
  const { headSize } = spec;
  const paddedSize = Math.ceil(headSize / headMultiple) * headMultiple;
  const pad = (values: Value, heads: number) => {
    if (paddedSize === headSize) return values;
    const split = reshape(context, values, [0, 0, heads, headSize]);
    const pads = graph.constant("int64", [0, 0, 0, 0, 0, 0, 0, paddedSize - headSize]);
    return reshape(context, graph.node("Pad", [split, pads]), [0, 0, heads * paddedSize]);
  };
  const pastShape = ["batch", keyValueHeadCount, "past", paddedSize];
  const [mixed, presentKey, presentValue] = graph.nodes(
    "GroupQueryAttention",
    [
      pad(query, headCount),
      pad(key, keyValueHeadCount),
      pad(value, keyValueHeadCount),
      state?.past("key", pastShape) ?? "",
      state?.past("value", pastShape) ?? "",
      sequence.lastPosition,
      sequence.totalLength,
      // Cosines, sines and positions, which it would rotate by; the last is added to the scores.
      ...(sequence.visibility ? ["", "", "", sequence.visibility(spec.slidingWindow)] : []),
    ],
    {
      contrib: true,
      outputs: state ? 3 : 1,
      ints: {
        num_heads: headCount,
        kv_num_heads: keyValueHeadCount,
        ...(spec.slidingWindow !== undefined &&
          !sequence.visibility && { local_window_size: spec.slidingWindow }),
      },
      floats: { scale: spec.scale, ...(spec.softcap !== undefined && { softcap: spec.softcap }) },
    },
  );
  if (state) {
    const presentShape = ["batch", keyValueHeadCount, "total", paddedSize];
    state.present("key", presentKey, presentShape);
    state.present("value", presentValue, presentShape);
  }
  if (paddedSize === headSize) return mixed;
  const split = reshape(context, mixed, [0, 0, headCount, paddedSize]);
  const kept = graph.node("Slice", [
    split,
    graph.constant("int64", [0]),
    graph.constant("int64", [headSize]),
    graph.constant("int64", [3]),
  ]);
  return reshape(context, kept, [0, 0, headCount * headSize]);
}

/** Heads of a block's attention. */
export interface HeadCounts {
  readonly headCount: number;
  readonly keyValueHeadCount: number;
}

/** Heads by the tensors, which may have been replaced by wider or narrower ones. */
function headCounts(context: BlockContext, spec: AttentionSpec): HeadCounts {
  const headCount = inputWidth(context, "attention.output") / spec.headSize;
  const keyValueHeadCount =
    spec.projection === "separate"
      ? outputWidth(context, "attention.key") / spec.headSize
      : (outputWidth(context, "attention.qkv") / spec.headSize - headCount) / 2;
  return { headCount, keyValueHeadCount };
}

function project(
  context: BlockContext,
  spec: AttentionSpec,
  headCount: number,
  keyValueHeadCount: number,
  x: Value,
): { query: Value; key: Value; value: Value } {
  const { graph } = context;
  if (spec.projection === "separate") {
    return {
      query: blockLinear(context, x, "attention.query"),
      key: blockLinear(context, x, "attention.key"),
      value: blockLinear(context, x, "attention.value"),
    };
  }
  const fused = blockLinear(context, x, "attention.qkv");
  if (spec.projection === "fused") {
    const sizes = [headCount, keyValueHeadCount, keyValueHeadCount].map((heads) => heads * spec.headSize);
    const [query, key, value] = graph.nodes("Split", [fused, graph.constant("int64", sizes)], {
      outputs: 3,
      ints: { axis: -1 },
    });
    return { query, key, value };
  }
  // [key/value head][its queries, its key, its value][head size]
  const group = headCount / keyValueHeadCount;
  const grouped = reshape(context, fused, [0, 0, keyValueHeadCount, group + 2, spec.headSize]);
  const [query, key, value] = graph.nodes("Split", [grouped, graph.constant("int64", [group, 1, 1])], {
    outputs: 3,
    ints: { axis: 3 },
  });
  return {
    query: reshape(context, query, [0, 0, headCount * spec.headSize]),
    key: reshape(context, key, [0, 0, keyValueHeadCount * spec.headSize]),
    value: reshape(context, value, [0, 0, keyValueHeadCount * spec.headSize]),
  };
}

/** 0 keeps an axis's length. */
export function reshape({ graph }: BlockContext, value: Value, shape: readonly number[]): Value {
  return graph.node("Reshape", [value, graph.constant("int64", shape)]);
}
