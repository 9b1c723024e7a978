import type { Architecture } from "@layerfold/core";
import { type GgmlType, ggmlBlockSize } from "./dequantize.js";
import type { GgufArchitecture } from "./gguf-architecture.js";

/** What a whole file is stored as: the type of most of its weights, and its number in `general.file_type` (llama.h, `llama_ftype`). */
const fileTypes = {
  f32: { number: 0, type: "F32" },
  f16: { number: 1, type: "F16" },
  bf16: { number: 32, type: "BF16" },
  q4_0: { number: 2, type: "Q4_0" },
  q8_0: { number: 7, type: "Q8_0" },
  q4_k_m: { number: 15, type: "Q4_K" },
  q6_k: { number: 18, type: "Q6_K" },
} as const satisfies Record<string, { number: number; type: GgmlType }>;

/** A type of file that can be written. */
export type GgufFileType = keyof typeof fileTypes;

export const ggufFileTypes = Object.keys(fileTypes) as GgufFileType[];

/** Number of a file type in `general.file_type`. */
export function fileTypeNumber(type: GgufFileType): number {
  return fileTypes[type].number;
}

/** Rows that do not fill blocks of 256 go into blocks of 32, as llama.cpp does it. */
const smaller: Partial<Record<GgmlType, GgmlType>> = { Q4_K: "Q5_0", Q5_K: "Q5_1", Q6_K: "Q8_0" };

/** The type itself, or the next larger one whose blocks the rows fill. */
function fitting(type: GgmlType, columns: number): GgmlType {
  const fits = (one: GgmlType) => columns % ggmlBlockSize(one) === 0;
  if (fits(type)) return type;
  const other = smaller[type];
  return other && fits(other) ? other : "F16";
}

/** Parts that are always float32: small, and sensitive or not multiplied by llama.cpp's kernels. */
const alwaysFloat32 = /^position_embd\.|_norm(_2)?\.weight$|\.ffn_gate_inp\.|\.ssm_conv1d\.|^rope_/;

/** Layers that get more bits: the first and the last eighth, and every third between. */
function isSensitive(index: number, count: number): boolean {
  const eighth = Math.floor(count / 8);
  return index < eighth || index >= Math.floor((7 * count) / 8) || (index - eighth) % 3 === 2;
}

/**
 * How a tensor is stored in a file of a type; the mixture of `q4_k_m`, and the larger type of the head, are llama.cpp's (llama-quant.cpp as in
 * llama-cpp-python 0.3.36).
 *
 * @param shape - in the file, row-major
 */
export function storedType(
  file: GgufFileType,
  name: string,
  shape: readonly number[],
  { name: family }: Pick<GgufArchitecture, "name">,
  { blocks, head }: Architecture,
): GgmlType {
  const { type } = fileTypes[file];
  if (type === "F32" || shape.length < 2 || !name.endsWith(".weight") || alwaysFloat32.test(name))
    return "F32";
  if (type === "F16" || type === "BF16") return type;
  const columns = shape.at(-1)!;
  const isHead = name === "output.weight" || (head.tied && name === "token_embd.weight");
  if (isHead) {
    const large = type === "Q8_0" || family === "falcon" || columns % ggmlBlockSize(type) !== 0;
    return fitting(large ? "Q8_0" : "Q6_K", columns);
  }
  const eightExperts = blocks.some(({ feedForward: f }) => f.kind === "moe" && f.expertCount === 8);
  // Beside that many experts these maps are small.
  if (eightExperts && /\.attn_(k|v|qkv)\.weight$/.test(name)) return fitting("Q8_0", columns);
  return fitting(file === "q4_k_m" ? mixedType(name, family, blocks, eightExperts) : type, columns);
}

function mixedType(
  name: string,
  family: string,
  blocks: Architecture["blocks"],
  eightExperts: boolean,
): GgmlType {
  const [, layerText = "0", part] = /^blk\.(\d+)\.(\w+)\./.exec(name) ?? [];
  const layer = Number(layerText);
  switch (part) {
    case "attn_v":
    case "attn_qkv": {
      // Counted among the layers that have one.
      const having = blocks.flatMap(({ mixer }, i) => (mixer.kind === "attention" ? [i] : []));
      return isSensitive(having.indexOf(layer), having.length) ? "Q6_K" : "Q4_K";
    }
    case "attn_output":
      return eightExperts && family !== "falcon" ? "Q5_K" : "Q4_K";
    case "ffn_down":
    case "ffn_down_exps": {
      const sensitive = isSensitive(layer, blocks.length);
      if (family !== "falcon") return sensitive ? "Q6_K" : "Q4_K";
      return layer < Math.floor(blocks.length / 16) ? "Q6_K" : sensitive ? "Q5_K" : "Q4_K";
    }
    default:
      return "Q4_K";
  }
}
