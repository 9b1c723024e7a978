import { type Checkpoint, type ModelConfig, openCheckpoint, quantizedModules } from "@layerfold/checkpoint";
import { type Architecture, bytesPerElement, type Diagnostic, elementCount } from "@layerfold/core";
import { modelFolder } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function inspectCommand(signal: AbortSignal): Command {
  return command(
    "inspect",
    "Family, layers, shapes, parameters, dtype, memory estimate, and anything odd about the checkpoint.",
    "layerfold inspect models/foldling/checkpoint",
  )
    .argument("<model>", "checkpoint folder, or hf:org/name")
    .action(async (model: string, options: CommonOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const oddities: string[] = [];
      const checkpoint = await openCheckpoint(await modelFolder(model, run), {
        report: (event) => event.type === "diagnostic" && oddities.push((event as Diagnostic).message),
      });
      try {
        const facts = { ...describe(checkpoint), oddities };
        run.terminal.result(facts, print(facts));
      } finally {
        await checkpoint.close();
      }
    });
}

/**
 * Parameters of the whole model and of one block each, by what the architecture asks for: packed weights count as what they stand for.
 * Tied weights are stored, and counted, once.
 */
function parameterCounts({ globals, blocks }: Architecture): { total: number; blocks: number[] } {
  const sum = (shapes: Iterable<readonly number[]>) =>
    [...shapes].reduce((total, shape) => total + elementCount(shape), 0);
  const ofBlocks = blocks.map(({ shapes }) => sum(shapes.values()));
  return {
    total: ofBlocks.reduce((total, count) => total + count, sum(globals.values())),
    blocks: ofBlocks,
  };
}

function describe(checkpoint: Checkpoint) {
  const { architecture, tensors } = checkpoint;
  const counts = parameterCounts(architecture);
  const first = architecture.blocks[0];
  const blockTypes: Record<string, number> = {};
  for (const block of architecture.blocks) blockTypes[block.type] = (blockTypes[block.type] ?? 0) + 1;
  const dtypes: Record<string, number> = {};
  let bytes = 0;
  for (const t of tensors.values()) {
    dtypes[t.dtype] = (dtypes[t.dtype] ?? 0) + elementCount(t.shape);
    bytes += elementCount(t.shape) * bytesPerElement(t.dtype);
  }
  const packed = quantizedModules(checkpoint);
  const { mixer, feedForward } = first;
  return {
    model_type: architecture.modelType,
    num_hidden_layers: architecture.blocks.length,
    hidden_size: architecture.hiddenSize,
    vocab_size: architecture.vocabularySize,
    max_position_embeddings: architecture.maxPositionEmbeddings,
    tie_word_embeddings: architecture.head.tied,
    ...(mixer.kind === "attention" && {
      num_attention_heads: mixer.headCount,
      num_key_value_heads: mixer.keyValueHeadCount,
      head_dim: mixer.headSize,
    }),
    intermediate_size: feedForward.intermediateSize,
    block_types: blockTypes,
    layer_types: architecture.blocks.map((block) => block.type),
    parameters: counts.total,
    parameters_per_block: [...new Set(counts.blocks)],
    dtypes,
    ...(packed.length > 0 && {
      quantization: {
        method: String((checkpoint.config.quantization_config as ModelConfig).quant_method),
        modules: packed.length,
      },
    }),
    bytes_on_disk: bytes,
    memory_bytes: {
      /** Every weight as float32, as a whole-model session holds it. */
      whole_model: counts.total * 4,
      /** One block at a time: its weights as float32 twice (old and new), and the vocabulary matrix. */
      streaming: Math.max(...counts.blocks) * 8 + architecture.vocabularySize * architecture.hiddenSize * 4,
    },
    tensors_of_block_0: Object.fromEntries(
      [...first.tensors].map(([role, name]) => [
        role,
        { name, shape: first.shapes.get(role) as readonly number[] },
      ]),
    ),
  };
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function print(facts: ReturnType<typeof describe> & { oddities: string[] }): string {
  const attention =
    "num_attention_heads" in facts
      ? `${facts.num_attention_heads} heads of ${facts.head_dim}, ${facts.num_key_value_heads} key/value heads`
      : "no attention";
  return [
    `${facts.model_type}: ${facts.num_hidden_layers} layers of ${facts.hidden_size}, ${attention}, intermediate ${facts.intermediate_size}`,
    `vocabulary ${facts.vocab_size}${facts.tie_word_embeddings ? " (tied)" : ""}, context ${facts.max_position_embeddings}`,
    `blocks: ${Object.entries(facts.block_types)
      .map(([type, n]) => `${n} × ${type}`)
      .join(", ")}`,
    `${facts.parameters.toLocaleString("en")} parameters, ${Object.keys(facts.dtypes).join(" + ")}, ${mebibytes(facts.bytes_on_disk)} on disk`,
    ...("quantization" in facts && facts.quantization
      ? [`quantised: ${facts.quantization.method}, ${facts.quantization.modules} matrices`]
      : []),
    `memory: about ${mebibytes(facts.memory_bytes.whole_model)} whole, ${mebibytes(facts.memory_bytes.streaming)} block by block`,
    ...Object.entries(facts.tensors_of_block_0).map(
      ([role, { name, shape }]) => `  ${role.padEnd(22)} [${shape.join(", ")}]  ${name}`,
    ),
    ...facts.oddities.map((text) => `odd: ${text}`),
  ].join("\n");
}
