import {
  type AttentionSpec,
  type DType,
  encodeFloats,
  LayerfoldError,
  type RunContext,
} from "@layerfold/core";
import { checkLayerCount } from "../check-tensors.js";
import { checkOutputFolder } from "../disk/output-folder.js";
import { architectureOf } from "../families.js";
import type { TensorSource } from "../safetensors.js";
import { type WrittenCheckpoint, writeCheckpoint } from "../write-checkpoint.js";
import { configOfGguf } from "./config-of-gguf.js";
import { type GgufFile, readGguf } from "./read-gguf.js";
import { ggufName } from "./tensor-names.js";
import { tokenizerOfGguf } from "./tokenizer-of-gguf.js";

/** How llama.cpp names the tensors of a layer. */
const ggufLayers = { basePrefix: "", layerPrefix: "blk.", layerCountField: "num_hidden_layers" };

export interface ImportGgufOptions {
  /** Element type to write; float32, the default, keeps every dequantised bit. */
  readonly dtype?: Extract<DType, "float32" | "bfloat16" | "float16">;
  readonly force?: boolean;
}

/**
 * Makes an ordinary Hugging Face checkpoint of a GGUF file: weights dequantised one at a time, config and tokenizer rebuilt from the
 * metadata, llama.cpp's order of the rotary pairs undone.
 *
 * @throws what `readGguf` throws; GGUF_ARCHITECTURE, GGUF_SPLIT, GGUF_METADATA, GGUF_ROPE, GGUF_TOKENIZER; TENSOR_MISSING, TENSOR_SHAPE, LAYER_MISSING; FLOAT_OVERFLOW where
 * a weight does not fit `dtype`; what
 * `writeCheckpoint` throws
 */
export async function importGguf(
  file: string,
  directory: string,
  options: ImportGgufOptions = {},
  ctx: Pick<RunContext, "signal" | "report"> = {},
): Promise<WrittenCheckpoint> {
  const { dtype = "float32", force } = options;
  await checkOutputFolder(directory, { force, inputs: [file] });
  const gguf = await readGguf(file);
  try {
    const { config, interleavedRotary } = await configOfGguf(gguf, file);
    checkLayerCount(ggufLayers, config, gguf.tensors.keys(), file);
    const tensors = tensorSources(gguf, { ...config, dtype }, interleavedRotary, dtype, file);
    const tokenizer = tokenizerOfGguf(gguf.metadata, file);
    const { bos_token_id, eos_token_id, pad_token_id } = config;
    const used = new Set(tensors.map(({ from }) => from));
    // The scaling in rope_freqs has become part of the config.
    const unused = [...gguf.tensors.keys()].filter((name) => !used.has(name) && name !== "rope_freqs.weight");
    if (unused.length > 0) {
      throw new LayerfoldError("TENSOR_UNEXPECTED", `no place for ${unused[0]}`, {
        got: `${unused.length} tensors that a ${config.model_type} does not have`,
        where: file,
      });
    }
    return await writeCheckpoint(
      directory,
      {
        config: { ...config, dtype },
        tensors,
        force,
        extraFiles: {
          "tokenizer.json": JSON.stringify(tokenizer["tokenizer.json"]),
          "tokenizer_config.json": `${JSON.stringify(tokenizer["tokenizer_config.json"], null, 2)}\n`,
          "generation_config.json": `${JSON.stringify({ bos_token_id, eos_token_id, pad_token_id }, null, 2)}\n`,
        },
      },
      ctx,
    );
  } finally {
    await gguf.close();
  }
}

function tensorSources(
  gguf: GgufFile,
  config: Parameters<typeof architectureOf>[0],
  interleavedRotary: boolean,
  dtype: DType,
  file: string,
): (TensorSource & { from: string })[] {
  const { blocks, embedding, head, finalNorm } = architectureOf(config);
  const source = (name: string, from: string, rotaryHeads = 0) => {
    const stored = gguf.tensors.get(from);
    if (!stored) throw new LayerfoldError("TENSOR_MISSING", `the file lacks ${from}`, { where: file });
    const bytes = async () => {
      const values = await gguf.read(from);
      return encodeFloats(rotaryHeads ? halvesOfHeads(values, stored.shape[0], rotaryHeads) : values, dtype);
    };
    return { name, dtype, shape: stored.shape, bytes, from };
  };
  const sources = [
    source(embedding.tokens, "token_embd.weight"),
    source(finalNorm!.weight!, "output_norm.weight"),
  ];
  if (!head.tied) sources.push(source(head.weight, "output.weight"));
  blocks.forEach((block, layer) => {
    // The architectures that can be imported have attention in every block.
    const { headCount, keyValueHeadCount } = block.mixer as AttentionSpec;
    for (const [role, name] of block.tensors) {
      const kind = role.replace(".bias", "");
      const heads = kind === "attention.query" ? headCount : kind === "attention.key" ? keyValueHeadCount : 0;
      sources.push(source(name, ggufName(layer, role), interleavedRotary ? heads : 0));
    }
  });
  return sources;
}

/** A matrix or bias whose rows of each head go from rotary pairs side by side to all first members before all second ones. */
function halvesOfHeads(values: Float32Array, rows: number, heads: number): Float32Array {
  const out = new Float32Array(values.length);
  const columns = values.length / rows;
  const headRows = rows / heads;
  for (let row = 0; row < rows; row++) {
    const inHead = row % headRows;
    const to = row - inHead + (inHead & 1) * (headRows / 2) + (inHead >> 1);
    out.set(values.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}
