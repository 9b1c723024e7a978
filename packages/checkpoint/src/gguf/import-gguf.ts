import { type DType, LayerfoldError, type RunContext } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import { checkLayerCount } from "../check-tensors.js";
import { architectureOf, familyOf } from "../families.js";
import { type WrittenCheckpoint, writeCheckpoint } from "../write-checkpoint.js";
import { configOfGguf } from "./config-of-gguf.js";
import { readGguf } from "./read-gguf.js";
import { ropeTensors } from "./rope-of-gguf.js";
import { tensorsOfGguf } from "./tensors-of-gguf.js";
import { tokenizerOfGguf } from "./tokenizer-of-gguf.js";

/** How llama.cpp names the tensors of a layer. */
const ggufLayers = { basePrefix: "", layerPrefix: "blk." };

export interface ImportGgufOptions {
  /** Element type to write; float32, the default, keeps every dequantised bit. */
  readonly dtype?: Extract<DType, "float32" | "bfloat16" | "float16"> | undefined;
  readonly force?: boolean | undefined;
}

/**
 * Makes an ordinary Hugging Face checkpoint of a GGUF file: weights dequantised one at a time, config and tokenizer rebuilt from the
 * metadata, llama.cpp's own order of rows and its own norms undone.
 *
 * @throws what `readGguf` throws; GGUF_ARCHITECTURE, GGUF_SPLIT, GGUF_METADATA, GGUF_ROPE, GGUF_TOKENIZER; TENSOR_MISSING, TENSOR_SHAPE,
 * TENSOR_UNEXPECTED, LAYER_MISSING; FLOAT_OVERFLOW where a weight does not fit `dtype`; what `writeCheckpoint` throws
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
    const { config, architecture } = await configOfGguf(gguf, file, ctx.report);
    const { layerCountField } = familyOf(config);
    checkLayerCount({ ...ggufLayers, layerCountField }, config, gguf.tensors.keys(), file);
    const tensors = tensorsOfGguf(gguf, architecture, architectureOf(config), dtype, file);
    const tokenizer = tokenizerOfGguf(gguf.metadata, Number(config.vocab_size), file);
    const { bos_token_id, eos_token_id, pad_token_id } = config;
    const used = new Set([...ropeTensors, ...tensors.map(({ from }) => from)]);
    const unused = [...gguf.tensors.keys()].filter((name) => !used.has(name));
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
