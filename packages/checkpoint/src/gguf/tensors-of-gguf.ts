import type { Architecture, AttentionSpec, BlockSpec, NormSpec, Role } from "@layerfold/core";
import { type DType, elementCount, encodeFloats, LayerfoldError } from "@layerfold/core";
import type { WholeTensor } from "../safetensors.js";
import type { GgufArchitecture } from "./gguf-architecture.js";
import type { GgufFile } from "./read-gguf.js";
import { type GgufPlace, ggufPlace } from "./tensor-names.js";

/** How a tensor of a GGUF file becomes one of transformers; the steps are taken in this order. */
interface Turn {
  /** Its rows in a stack of q, k and v, where the file has them in one and transformers does not. */
  readonly rows?: { readonly first: number; readonly of: number };
  /** Row of the file for a row of transformers. */
  readonly rowOf?: ((row: number) => number) | undefined;
  /** The file has it [out, in], transformers [in, out]. */
  readonly transposed?: boolean;
  /** Taken from every value: the 1 that llama.cpp's converter adds to Gemma's norms. */
  readonly offset?: number | undefined;
  /** The file has −exp of every value. */
  readonly negativeExponential?: boolean;
}

/** A tensor to write, and the tensor of the file that it is made of. */
export interface GgufTensorSource extends WholeTensor {
  readonly from: string;
}

/**
 * Every tensor that an architecture uses, from the file's tensors, dequantised when its bytes are asked for.
 * @throws TENSOR_MISSING, TENSOR_SHAPE
 */
export function tensorsOfGguf(
  gguf: GgufFile,
  description: GgufArchitecture,
  architecture: Architecture,
  dtype: DType,
  file: string,
): GgufTensorSource[] {
  const { blocks, embedding, head, finalNorm, globals } = architecture;
  const source = (name: string, shape: readonly number[], place: GgufPlace, turn: Turn = {}) => ({
    name,
    dtype,
    shape,
    bytes: async () => encodeFloats(await valuesOf(gguf, shape, place, turn, file), dtype),
    from: checked(gguf, shape, place, turn, file),
  });
  const whole = (name: string | undefined, from: string, turn?: Turn) =>
    name === undefined ? [] : [source(name, globals.get(name)!, { name: from }, turn)];
  return [
    ...whole(embedding.tokens, "token_embd.weight"),
    ...whole(embedding.positions?.weight, "position_embd.weight"),
    ...whole(finalNorm?.weight, "output_norm.weight", { offset: finalNorm?.weightOffset }),
    ...whole(finalNorm?.bias, "output_norm.bias"),
    ...(head.tied ? [] : whole(head.weight, "output.weight")),
    ...whole(head.bias, "output.bias"),
    ...blocks.flatMap((block, layer) => {
      const fusedInFile = !gguf.tensors.has(`blk.${layer}.attn_q.weight`);
      return [...block.tensors].map(([role, name]) => {
        const [kept, turn] = turnOf(description, block, role, fusedInFile);
        return source(name, block.shapes.get(role)!, ggufPlace(description, block, layer, kept), turn);
      });
    }),
  ];
}

/** The role under which the file keeps `role`, and how it becomes it. */
function turnOf(
  { rotary }: GgufArchitecture,
  block: BlockSpec,
  role: Role,
  fusedInFile: boolean,
): [kept: Role, turn: Turn] {
  const { mixer } = block;
  const bias = role.endsWith(".bias") ? ".bias" : "";
  const kind = bias ? role.slice(0, -bias.length) : role;
  if (kind === "mamba.a_log") return [role, { negativeExponential: true }];
  const norm = normsOf(block).find(({ weight }) => weight === role);
  if (norm) return [role, { offset: norm.weightOffset }];
  const transposed = !bias && block.linearLayout === "in-out";
  if (mixer.kind !== "attention") return [role, { transposed }];
  if (kind === "attention.qkv") {
    return [role, { transposed, ...(mixer.projection === "fused-per-head" && { rowOf: groupedRow(mixer) }) }];
  }
  const { headCount, keyValueHeadCount, headSize } = mixer;
  const counts = [headCount, keyValueHeadCount, keyValueHeadCount];
  const index = ["attention.query", "attention.key", "attention.value"].indexOf(kind);
  if (index < 0) return [role, { transposed }];
  const rowOf = rotary === "interleaved" && index < 2 ? interleavedRow(headSize) : undefined;
  if (!fusedInFile) return [role, { transposed, rowOf }];
  const before = counts.slice(0, index).reduce((sum, count) => sum + count, 0);
  const of = (headCount + 2 * keyValueHeadCount) * headSize;
  return [`attention.qkv${bias}`, { rows: { first: before * headSize, of }, rowOf }];
}

function normsOf(block: BlockSpec): NormSpec[] {
  const inMixer = block.mixer.kind === "attention" ? block.mixer.queryKeyNorm : undefined;
  return [
    block.mixerNorm,
    block.mixerPostNorm,
    block.feedForwardNorm,
    block.feedForwardPostNorm,
    inMixer?.query,
    inMixer?.key,
  ].filter((norm) => norm !== undefined);
}

/** The file has the two members of a rotary pair side by side; transformers has all first members of a head before all second ones. */
function interleavedRow(headSize: number) {
  return (row: number) => {
    const inHead = row % headSize;
    const half = headSize / 2;
    return row - inHead + (inHead < half ? 2 * inHead : 2 * (inHead - half) + 1);
  };
}

/** The file has all queries, keys, values; transformers has the queries, key and value of one key/value head after another. */
function groupedRow({ headCount, keyValueHeadCount, headSize }: AttentionSpec) {
  const queries = headCount / keyValueHeadCount;
  return (row: number) => {
    const head = Math.floor(row / headSize);
    const group = Math.floor(head / (queries + 2));
    const inGroup = head % (queries + 2);
    const from =
      inGroup < queries
        ? group * queries + inGroup
        : headCount + (inGroup === queries ? 0 : keyValueHeadCount) + group;
    return from * headSize + (row % headSize);
  };
}

/** The name of a place's tensor, which is there and has the shape that is needed. */
function checked(
  gguf: GgufFile,
  shape: readonly number[],
  { name, expert }: GgufPlace,
  { rows, transposed }: Turn,
  file: string,
): string {
  const stored = gguf.tensors.get(name);
  if (!stored) throw new LayerfoldError("TENSOR_MISSING", `the file lacks ${name}`, { where: file });
  const [first, ...others] = transposed ? shape.toReversed() : shape;
  const wanted = [rows?.of ?? first, ...others].filter((size) => size !== 1);
  // Of the experts only the number before the others is not known here; it is the config's.
  const got = stored.shape.slice(expert === undefined ? 0 : 1).filter((size) => size !== 1);
  const fits = got.join() === wanted.join() && (expert === undefined || expert < stored.shape[0]);
  if (fits) return name;
  throw new LayerfoldError("TENSOR_SHAPE", `${name} does not fit the metadata`, {
    wanted: `[${(expert === undefined ? [] : [`more than ${expert}`]).concat(wanted.map(String)).join(", ")}]`,
    got: `[${stored.shape.join(", ")}]`,
    where: file,
  });
}

async function valuesOf(
  gguf: GgufFile,
  shape: readonly number[],
  { name, expert = 0 }: GgufPlace,
  { rows, rowOf, transposed, offset, negativeExponential }: Turn,
  file: string,
): Promise<Float32Array> {
  const count = elementCount(shape);
  const columns = shape.length === 1 ? 1 : transposed ? shape[0] : count / shape[0];
  let values = await gguf.read(name, rows ? rows.first * columns : expert * count, count);
  if (rowOf) values = withRows(values, columns, rowOf);
  if (transposed && shape.length === 2) values = transpose(values, shape[1], shape[0]);
  if (offset) values = values.map((value) => value - offset);
  if (negativeExponential) {
    const wrong = values.findIndex((value) => !(value < 0));
    if (wrong >= 0) {
      throw new LayerfoldError("GGUF_INVALID", `${name} is −exp of something, so it is negative`, {
        wanted: "a number < 0",
        got: `${values[wrong]}`,
        where: `${file}, element ${wrong}`,
      });
    }
    values = values.map((value) => Math.log(-value));
  }
  return values;
}

function withRows(values: Float32Array, columns: number, rowOf: (row: number) => number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const from = rowOf(row) * columns;
    out.set(values.subarray(from, from + columns), row * columns);
  }
  return out;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column];
  return out;
}
