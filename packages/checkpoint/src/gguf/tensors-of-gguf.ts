import type { Architecture } from "@layerfold/core";
import { type DType, elementCount, encodeFloats, LayerfoldError } from "@layerfold/core";
import type { WholeTensor } from "../safetensors.js";
import type { GgufArchitecture } from "./gguf-architecture.js";
import type { GgufFile } from "./read-gguf.js";
import { type GgufPlace, ggufPlace } from "./tensor-names.js";
import { columnsOf, fromGguf, type Turn, turnOf } from "./tensor-turn.js";

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
  turn: Turn,
  file: string,
): Promise<Float32Array> {
  const count = elementCount(shape);
  const first = turn.rows ? turn.rows.first * columnsOf(shape, turn) : expert * count;
  return fromGguf(await gguf.read(name, first, count), shape, turn, { name, file });
}
