import { mkdir, open, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Checkpoint, carryFiles, readTextFile, serializeConfig } from "@layerfold/checkpoint";
import { type Architecture, LayerfoldError, type RunContext, throwIfAborted } from "@layerfold/core";
import { checkOutputFolder, writeFolder } from "@layerfold/disk";
import { type GraphBuilder, graphBuilder } from "@layerfold/onnx";
import { block } from "./block.js";
import type { BlockState, SequenceValues } from "./block-context.js";
import { placedWeights, type QuantizedWeightOptions, type WeightPlaces } from "./checkpoint-weights.js";
import { embedding } from "./embedding.js";
import { headGraph } from "./head.js";
import { realTokensFirst } from "./real-tokens-first.js";
import { rotaryTables } from "./rotary-tables.js";
import { storedBlock } from "./stored-block.js";

export interface ExportOptions extends QuantizedWeightOptions {
  /** Replace a folder that is not empty, if it is one that we wrote. */
  readonly force?: boolean | undefined;
}

/** Offsets that a memory map can begin at, as ONNX's specification asks for. */
const alignment = 4096;

const dataFile = "model.onnx_data";

/**
 * Writes a model as one ONNX decoder that remembers, as transformers.js and optimum lay it out: `onnx/model.onnx` with its weights in
 * `onnx/model.onnx_data`, config and tokenizer beside the folder. Inputs: `input_ids`, `attention_mask` (int64; 0 at padding, on the left
 * or on the right: positions count the 1s), `past_key_values.N.key|value`; outputs: `logits` [batch, sequence, vocabulary]
 * (at padding those of the row's last real token), `present.N.key|value`. A run that continues several rows brings real tokens only. Weights keep the types in which
 * they are stored; quantised ones stay packed. It needs ONNX Runtime: attention and packed products are its own operators.
 *
 * @returns the folder, and the bytes of its weights
 * @throws what `writeFolder` throws; EXPORT_UNSUPPORTED where rotary frequencies depend on the sequence's length; CHECKPOINT_QUANTIZED,
 * QUANTIZATION_UNSUPPORTED, DTYPE_UNSUPPORTED, INTERRUPTED
 */
export async function exportOnnx(
  checkpoint: Checkpoint,
  directory: string,
  { force, ...options }: ExportOptions,
  ctx: Pick<RunContext, "signal" | "report">,
): Promise<{ readonly directory: string; readonly weightBytes: number }> {
  await checkOutputFolder(directory, { force });
  const places = onePlace(checkpoint);
  const model = decoderGraph(checkpoint, options, places);
  const weightBytes = await writeFolder(directory, { force }, async (folder) => {
    await mkdir(join(folder, "onnx"));
    await carryFiles(checkpoint.directory, folder);
    const { quantization_config: _, ...config } = checkpoint.config;
    const original = await readTextFile(join(checkpoint.directory, "config.json"));
    // What transformers.js looks at to open weights that lie beside the graph.
    const usage = { "transformers.js_config": { use_external_data_format: true } };
    await writeFile(join(folder, "config.json"), serializeConfig({ ...config, ...usage }, original));
    await writeFile(join(folder, "onnx", "model.onnx"), model);
    return places.write(join(folder, "onnx", dataFile), ctx);
  });
  return { directory: resolve(directory), weightBytes };
}

function decoderGraph(
  checkpoint: Checkpoint,
  options: QuantizedWeightOptions,
  places: WeightPlaces,
): Uint8Array {
  const { architecture } = checkpoint;
  const { hiddenSize, vocabularySize, blocks } = architecture;
  const weights = placedWeights(checkpoint, options, places);
  const graph = graphBuilder();
  const given = graph.input("input_ids", "int64", ["batch_size", "sequence_length"]);
  const mask = graph.input("attention_mask", "int64", ["batch_size", "total_sequence_length"]);
  const { ids, restore, ...rows } = realTokensFirst(graph, given, mask);
  const sequence = { ...rows, rotaryTable: storedTables(graph, architecture, places) };
  let stream = embedding(graph, architecture, weights, sequence, ids);
  blocks.forEach((spec, layer) => {
    const nameOf = (part: string, name: string) =>
      name === "key" || name === "value"
        ? `${part === "past" ? "past_key_values" : part}.${layer}.${name}`
        : `${part}_${name}.${layer}`;
    const lengths = { batch: "batch_size", past: "past_sequence_length", total: "total_sequence_length" };
    const named = (shape: readonly (number | string)[]) =>
      shape.map((length) => lengths[length as keyof typeof lengths] ?? length);
    const state: BlockState = {
      past: (name, shape) => graph.input(nameOf("past", name), "float32", named(shape)),
      present(name, value, shape) {
        graph.output(nameOf("present", name), value, "float32", named(shape));
      },
    };
    stream = block(storedBlock({ graph, checkpoint, weights, spec, sequence, state }), stream);
  });
  const states = graph.node("Reshape", [restore(stream), graph.constant("int64", [-1, hiddenSize])]);
  const length = graph.node("Shape", [ids]);
  const shape = graph.node("Concat", [length, graph.constant("int64", [vocabularySize])], {
    ints: { axis: 0 },
  });
  const logits = graph.node("Reshape", [headGraph(graph, architecture, weights, states), shape]);
  graph.output("logits", logits, "float32", ["batch_size", "sequence_length", vocabularySize]);
  return graph.build();
}

/** Rotary tables for all positions of a model, among the weights. */
function storedTables(
  graph: GraphBuilder,
  architecture: Architecture,
  places: WeightPlaces,
): SequenceValues["rotaryTable"] {
  for (const { mixer } of architecture.blocks) {
    if (mixer.kind === "attention" && mixer.rotary?.inverseFrequenciesFor) {
      throw new LayerfoldError(
        "EXPORT_UNSUPPORTED",
        "the rotary frequencies depend on the length of the text",
        {
          wanted: "a model with fixed frequencies",
        },
      );
    }
  }
  const tables = rotaryTables(architecture);
  const { maxPositionEmbeddings } = architecture;
  const values = tables.values(maxPositionEmbeddings, maxPositionEmbeddings);
  return (spec) => {
    const table = (name: string) => {
      const { data, shape } = values[name];
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      return graph.external(name, {
        dtype: "float32",
        shape,
        byteLength: bytes.byteLength,
        ...(places.inMemory as NonNullable<WeightPlaces["inMemory"]>)(name, bytes),
      });
    };
    const index = tables.indexOf(spec);
    return { cos: table(`cos.${index}`), sin: table(`sin.${index}`) };
  };
}

/** All weights one after another in a file, each once, read from where they lie when the file is written. */
function onePlace(checkpoint: Checkpoint) {
  const pieces = new Map<
    string,
    { byteOffset: number; byteLength: number; read: () => Promise<Uint8Array> }
  >();
  let end = 0;
  function place(name: string, byteLength: number, read: () => Promise<Uint8Array>) {
    let piece = pieces.get(name);
    if (!piece) {
      piece = { byteOffset: Math.ceil(end / alignment) * alignment, byteLength, read };
      end = piece.byteOffset + byteLength;
      pieces.set(name, piece);
    }
    return { location: dataFile, byteOffset: piece.byteOffset };
  }
  return {
    stored: ({ name, byteLength }: { readonly name: string; readonly byteLength: number }) =>
      place(name, byteLength, () => checkpoint.readBytes(name)),
    inMemory: (name: string, bytes: Uint8Array) => place(name, bytes.byteLength, async () => bytes),
    /** @returns bytes of the weights without the gaps between them */
    async write(file: string, { signal, report }: Pick<RunContext, "signal" | "report">): Promise<number> {
      const output = await open(file, "w");
      let done = 0;
      const total = Array.from(pieces.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
      try {
        for (const { byteOffset, read } of pieces.values()) {
          throwIfAborted(signal);
          const bytes = await read();
          await output.write(bytes, 0, bytes.byteLength, byteOffset);
          done += bytes.byteLength;
          report?.({ type: "progress", stage: "write", done, total, unit: "bytes" });
        }
      } finally {
        await output.close();
      }
      return done;
    },
  };
}
