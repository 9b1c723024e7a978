import type { AttentionSpec, BlockSpec, NormSpec, Role } from "@layerfold/core";
import { elementCount, LayerfoldError } from "@layerfold/core";
import type { GgufArchitecture } from "./gguf-architecture.js";

/** How a tensor of a GGUF file becomes one of transformers; the steps are taken in this order, and back in the other. */
export interface Turn {
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
  /** Of a file that is written: its first rows are multiplied, because llama.cpp takes another attention scale for granted. */
  readonly multiplied?: { readonly rows: number; readonly by: number };
}

/** The role under which the file keeps `role`, and how it becomes it. */
export function turnOf(
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

/** Where the queries of a block are multiplied: in the norm on them, or in what makes them; the file has queries before keys and values. */
export function multiplied(block: BlockSpec, role: Role, by: number): Turn["multiplied"] {
  const { mixer } = block;
  if (by === 1 || mixer.kind !== "attention") return undefined;
  const made = mixer.projection === "separate" ? "attention.query" : "attention.qkv";
  const plain = mixer.queryKeyNorm ? "attention.query_norm" : made;
  if (role !== plain && role !== `${plain}.bias`) return undefined;
  const rows = mixer.queryKeyNorm ? block.shapes.get(role)![0] : mixer.headCount * mixer.headSize;
  return { rows, by };
}

/** All norms of a block. */
export function normsOf(block: BlockSpec): NormSpec[] {
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

/** Values in one row of the file's tensor. */
export function columnsOf(shape: readonly number[], { transposed }: Turn): number {
  return shape.length === 1 ? 1 : transposed ? shape[0] : elementCount(shape) / shape[0];
}

/**
 * Values of transformers from those of the file.
 * @param shape - in transformers
 * @throws GGUF_INVALID where −exp of something is not negative
 */
export function fromGguf(
  values: Float32Array,
  shape: readonly number[],
  turn: Turn,
  where: { readonly name: string; readonly file: string },
): Float32Array {
  const { rowOf, transposed, offset, negativeExponential } = turn;
  let turned = values;
  if (rowOf) turned = withRows(turned, columnsOf(shape, turn), rowOf);
  if (transposed && shape.length === 2) turned = transpose(turned, shape[1], shape[0]);
  if (offset) turned = turned.map((value) => value - offset);
  if (!negativeExponential) return turned;
  const wrong = turned.findIndex((value) => !(value < 0));
  if (wrong >= 0) {
    throw new LayerfoldError("GGUF_INVALID", `${where.name} is −exp of something, so it is negative`, {
      wanted: "a number < 0",
      got: `${turned[wrong]}`,
      where: `${where.file}, element ${wrong}`,
    });
  }
  return turned.map((value) => Math.log(-value));
}

/**
 * Values for the file from those of transformers: `fromGguf` the other way.
 * @param shape - in transformers
 */
export function toGguf(values: Float32Array, shape: readonly number[], turn: Turn): Float32Array {
  const { rowOf, transposed, offset, negativeExponential, multiplied } = turn;
  let turned = values;
  if (negativeExponential) turned = turned.map((value) => -Math.exp(value));
  if (offset) turned = turned.map((value) => value + offset);
  if (transposed && shape.length === 2) turned = transpose(turned, shape[0], shape[1]);
  if (rowOf) turned = intoRows(turned, columnsOf(shape, turn), rowOf);
  if (!multiplied) return turned;
  const end = multiplied.rows * columnsOf(shape, turn);
  return turned.map((value, i) => (i < end ? value * multiplied.by : value));
}

function withRows(values: Float32Array, columns: number, rowOf: (row: number) => number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++) {
    const from = rowOf(row) * columns;
    out.set(values.subarray(from, from + columns), row * columns);
  }
  return out;
}

function intoRows(values: Float32Array, columns: number, rowOf: (row: number) => number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < values.length / columns; row++)
    out.set(values.subarray(row * columns, (row + 1) * columns), rowOf(row) * columns);
  return out;
}

function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      out[column * rows + row] = values[row * columns + column];
  return out;
}
