import { basename, dirname, resolve } from "node:path";
import {
  type Architecture,
  checkFinite,
  contiguousData,
  elementCount,
  errorWithin,
  isLayerfoldError,
  LayerfoldError,
  type RunContext,
  throwIfAborted,
} from "@layerfold/core";
import { checkFreeSpace, nearestFolder, writePieces, writeWholeFile } from "@layerfold/disk";
import type { Checkpoint } from "../checkpoint.js";
import { ggufArchitectureFor } from "./architectures.js";
import { checkExpressed } from "./check-expressed.js";
import { type GgmlType, ggmlBlockSize, ggmlByteLength, ggmlTypeNumber } from "./dequantize.js";
import { entriesOfModel } from "./entries-of-model.js";
import type { GgufArchitecture } from "./gguf-architecture.js";
import { quantizeRows } from "./quantize.js";
import { ropeToGguf } from "./rope-to-gguf.js";
import { ggufPlace } from "./tensor-names.js";
import { columnsOf, multiplied, type Turn, toGguf, turnOf } from "./tensor-turn.js";
import { fileTypeNumber, type GgufFileType, storedType } from "./tensor-types.js";
import { tokenizerToGguf } from "./tokenizer-to-gguf.js";
import { aligned, type GgufEntry, ggufHeader } from "./write-header.js";

export interface WriteGgufOptions {
  /** How weights are stored; default f16. */
  readonly type?: GgufFileType | undefined;
  /**
   * How much an error in a weight counts, by the tensor's name in the checkpoint: for every input the mean square of what comes in. Default:
   * all alike. Types that are not quantised do not ask.
   */
  readonly importance?: ReadonlyMap<string, Float64Array> | undefined;
  /** What people call the model; default: its folder's name. */
  readonly name?: string | undefined;
}

export interface WrittenGguf {
  /** Absolute path. */
  readonly file: string;
  readonly bytes: number;
  /** Tensors of each ggml type. */
  readonly types: Readonly<Partial<Record<GgmlType, number>>>;
}

/** A tensor of transformers that is one of the file's, or one of those that are stacked in it. */
interface Part {
  /** Name in the checkpoint. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly turn: Turn;
}

/** A tensor of the file. */
interface Planned {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly byteLength: number;
  /** Where its values come from: tensors of the checkpoint, or values that are there. */
  readonly parts: readonly Part[] | Float32Array;
}

/**
 * Writes a checkpoint as a GGUF file for llama.cpp and whatever is built on it: the mirror of `importGguf`. Weights are read, brought into
 * llama.cpp's order and quantised one tensor at a time. What the file says of the architecture and the tokenizer is read back by the importer's
 * own rules first, and held against the model: what llama.cpp would run otherwise is refused before anything is written.
 *
 * @param file - replaced if it is there: whether it may be is the caller's to ask
 * @throws GGUF_ARCHITECTURE for a family that llama.cpp does not have, GGUF_CANNOT_EXPRESS, GGUF_ROPE, GGUF_TOKENIZER, TOKENIZER_MISSING,
 * CHECKPOINT_QUANTIZED (open it with `dequantizedCheckpoint` of @layerfold/quantize), DISK_FULL, WEIGHT_NOT_FINITE and FLOAT_OVERFLOW naming the tensor, IMPORTANCE_SHAPE,
 * INTERRUPTED
 */
export async function writeGguf(
  checkpoint: Checkpoint,
  file: string,
  { type = "f16", importance, name = basename(resolve(checkpoint.directory)) }: WriteGgufOptions = {},
  ctx: Pick<RunContext, "signal" | "report"> = {},
): Promise<WrittenGguf> {
  const { architecture, config, directory } = checkpoint;
  const description = ggufArchitectureFor(architecture, directory);
  if (config.quantization_config != null) {
    throw new LayerfoldError(
      "CHECKPOINT_QUANTIZED",
      "the checkpoint is quantised, in a form that GGUF has not",
      {
        wanted: "a dense checkpoint, or a quantised one dequantised as it is read",
        where: directory,
      },
    );
  }
  const rope = ropeToGguf(description, architecture);
  const told = new Map<string, GgufEntry>([
    ...entriesOfModel(description, architecture, config),
    ...rope.entries,
  ]);
  shortenContext(told, description, architecture, ctx.report);
  const outline = planTensors(description, architecture, rope.tensors, type);
  const factors = await checkExpressed(told, outline, rope.tensors, description, architecture, directory);
  const planned = planTensors(description, architecture, rope.tensors, type, factors);
  if (factors.some((factor) => factor !== 1)) {
    ctx.report?.({
      type: "diagnostic",
      severity: "info",
      code: "GGUF_SCALE_IN_QUERIES",
      message: `a ${description.name} file of ${architecture.blocks.length} layers cannot say this attention scale: queries are multiplied instead`,
    });
  }
  const tokenizer = await tokenizerToGguf(
    checkpoint,
    { vocabularySize: architecture.vocabularySize, architecture: description.name, name },
    ctx.report,
  );
  const metadata = new Map<string, GgufEntry>([
    ["general.architecture", { type: "string", value: description.name }],
    ["general.type", { type: "string", value: "model" }],
    ["general.file_type", { type: "uint32", value: fileTypeNumber(type) }],
    ["general.quantization_version", { type: "uint32", value: 2 }],
    ...told,
    ...tokenizer,
  ]);
  const header = ggufHeader(
    metadata,
    planned.map((tensor) => ({ ...tensor, type: ggmlTypeNumber(tensor.type) })),
  );
  const dataBytes = planned.reduce((sum, { byteLength }) => aligned(sum) + byteLength, 0);
  const target = resolve(file);
  await checkFreeSpace(await nearestFolder(dirname(target)), header.bytes.length + dataBytes);
  throwIfAborted(ctx.signal);
  await writeWholeFile(target, (handle) =>
    writePieces(handle, piecesOf(header.bytes, planned, checkpoint, importance, ctx), ctx.signal),
  );
  const types: Partial<Record<GgmlType, number>> = {};
  for (const tensor of planned) types[tensor.type] = (types[tensor.type] ?? 0) + 1;
  return { file: target, bytes: header.bytes.length + dataBytes, types };
}

/**
 * Where llama.cpp attends to everything and the model to a window, a text as long as the window comes out the same: that is how long a context
 * the file promises. Where llama.cpp reads the window and heeds it not, it is said.
 */
function shortenContext(
  entries: Map<string, GgufEntry>,
  { name, fields, windowIgnored }: GgufArchitecture,
  { blocks, maxPositionEmbeddings }: Architecture,
  report: RunContext["report"],
): void {
  const windows = blocks.flatMap(({ mixer }) =>
    mixer.kind === "attention" ? (mixer.slidingWindow ?? []) : [],
  );
  const shortest = Math.min(...windows);
  if (!(shortest < maxPositionEmbeddings)) return;
  const says = Object.values(fields).some(({ key }) => key === "attention.sliding_window");
  if (says && !windowIgnored) return;
  if (!says) entries.set(`${name}.context_length`, { type: "uint32", value: shortest });
  report?.({
    type: "diagnostic",
    severity: "warning",
    code: says ? "GGUF_WINDOW_IGNORED" : "GGUF_CONTEXT_SHORTENED",
    message: `llama.cpp has no sliding window for ${name}: texts of more than ${shortest} tokens come out otherwise${
      says ? "" : `, so the file's context is that long, not ${maxPositionEmbeddings}`
    }`,
  });
}

/** Every tensor of the file, in the order in which they are written: as the importer looks for them. */
function planTensors(
  description: GgufArchitecture,
  architecture: Architecture,
  rope: ReadonlyMap<string, Float32Array>,
  file: GgufFileType,
  queryFactors: readonly number[] = [],
): Planned[] {
  const { blocks, embedding, head, finalNorm, globals } = architecture;
  const stacks = new Map<string, Part[]>();
  const put = (place: string, part: Part) => stacks.set(place, [...(stacks.get(place) ?? []), part]);
  const whole = (name: string | undefined, place: string, turn: Turn = {}) => {
    if (name !== undefined) put(place, { name, shape: globals.get(name)!, turn });
  };
  whole(embedding.tokens, "token_embd.weight");
  whole(embedding.positions?.weight, "position_embd.weight");
  blocks.forEach((block, layer) => {
    for (const [role, name] of block.tensors) {
      const [kept, turn] = turnOf(description, block, role, false);
      const place = ggufPlace(description, block, layer, kept);
      const scaled = multiplied(block, role, queryFactors[layer] ?? 1);
      put(place.name, {
        name,
        shape: block.shapes.get(role)!,
        turn: { ...turn, ...(scaled && { multiplied: scaled }) },
      });
    }
  });
  whole(finalNorm?.weight, "output_norm.weight", { offset: finalNorm?.weightOffset });
  whole(finalNorm?.bias, "output_norm.bias");
  if (!head.tied) whole(head.weight, "output.weight");
  whole(head.bias, "output.bias");
  const planned = (name: string, shape: readonly number[], parts: Planned["parts"]): Planned => {
    const type = storedType(file, name, shape, description, architecture);
    return { name, shape, type, parts, byteLength: ggmlByteLength(type, elementCount(shape), name) };
  };
  return [
    ...[...rope].map(([name, values]) => planned(name, [values.length], values)),
    ...[...stacks].map(([name, parts]) => planned(name, fileShape(name, parts), parts)),
  ];
}

/** Shape in the file: experts stacked, transposed where it must be, without the axis of a convolution's one channel. */
function fileShape(name: string, parts: readonly Part[]): readonly number[] {
  const [{ shape, turn }] = parts;
  const turned = (turn.transposed ? shape.toReversed() : shape).filter(
    (size, axis) => axis === 0 || size !== 1,
  );
  return name.includes("_exps.") ? [parts.length, ...turned] : turned;
}

/** Header and tensors, each at the next multiple of the alignment; experts one by one. */
async function* piecesOf(
  header: Uint8Array,
  tensors: readonly Planned[],
  checkpoint: Checkpoint,
  importance: WriteGgufOptions["importance"],
  { signal, report }: Pick<RunContext, "signal" | "report">,
): AsyncGenerator<Uint8Array> {
  yield header;
  const total = tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  let [end, done] = [0, 0];
  for (const { type, parts, byteLength } of tensors) {
    if (end < aligned(end)) yield new Uint8Array(aligned(end) - end);
    end = aligned(end) + byteLength;
    if (parts instanceof Float32Array) {
      yield quantizeRows(type, parts, parts.length);
      continue;
    }
    for (const part of parts) {
      for await (const bytes of partPieces(part, type, checkpoint, importance?.get(part.name))) {
        throwIfAborted(signal);
        yield bytes;
        done += bytes.length;
        report?.({ type: "progress", stage: "write", done, total, unit: "bytes" });
      }
    }
  }
}

/** Weights that are quantised before someone else has a turn: some tenths of a second. */
const quantizedAtOnce = 2 ** 19;

/** The bytes of a tensor, or of an expert of one, in pieces of whole rows. */
async function* partPieces(
  { name, shape, turn }: Part,
  type: GgmlType,
  checkpoint: Checkpoint,
  importance: Float64Array | undefined,
): AsyncGenerator<Uint8Array> {
  const stored = await checkpoint.read(name);
  const isQuantized = ggmlBlockSize(type) > 1;
  if (isQuantized) checkFinite(stored, name);
  const values = toGguf(contiguousData(stored), shape, turn);
  const columns = shape.length === 1 ? values.length : columnsOf(shape, turn);
  if (importance && importance.length !== columns) {
    throw new LayerfoldError("IMPORTANCE_SHAPE", `the importance of ${name} does not fit its inputs`, {
      wanted: `${columns} numbers`,
      got: `${importance.length}`,
    });
  }
  const weights = importance && Float32Array.from(importance);
  const step = isQuantized ? columns * Math.max(1, Math.floor(quantizedAtOnce / columns)) : values.length;
  for (let start = 0; start < values.length; start += step) {
    try {
      yield quantizeRows(type, values.subarray(start, start + step), columns, weights);
    } catch (error) {
      throw isLayerfoldError(error) && error.where === undefined ? errorWithin(error, name) : error;
    }
  }
}
