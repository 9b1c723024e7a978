import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { contiguousData, firstOf, type RunContext, tokenBatch } from "@layerfold/core";
import { openDecoder, openRunner } from "@layerfold/graph";
import { portableEngine, seededRng } from "@layerfold/linalg";
import {
  dequantizedCheckpoint,
  type QuantizedFormat,
  quantizeCheckpoint,
  quantizedWeights,
  schemeOf,
} from "@layerfold/quantize";

import type { FuzzTarget } from "../target.js";
import { madeFiles, modelFiles, tinyLlama, withCheckpoint } from "../tiny-model.js";

const config = {
  ...tinyLlama,
  hidden_size: 32,
  num_hidden_layers: 1,
  num_key_value_heads: 2,
  intermediate_size: 64,
};
const schemes: [scheme: string, format: QuantizedFormat][] = [
  ["rtn-w4g32", "gptq"],
  ["gptq-w4g32-asym", "gptq_v2"],
  ["rtn-w4g32-asym", "awq"],
  ["rtn-w4g32-asym", "compressed-tensors"],
  ["smoothquant-w8a8", "compressed-tensors"],
  ["fp8", "compressed-tensors"],
];

/** Quantised checkpoints of every format: what the config says and the packed tensors, dequantised and run. */
export const quantized: FuzzTarget = {
  id: "quantized",
  async starts(scratch) {
    const ctx: RunContext = { rng: seededRng(0), engine: portableEngine() };
    const model = await modelFiles(scratch, config);
    const starts: Map<string, Uint8Array>[] = [];
    for (const [name, format] of schemes) {
      starts.push(
        await madeFiles(scratch, async (folder) => {
          const dense = `${folder}.dense`;
          await writeAll(dense, model);
          await withCheckpoint(dense, async (checkpoint) => {
            const runner = await openRunner(checkpoint);
            const calibration = async function* () {
              yield tokenBatch([[1, 2, 3, 4, 5, 6, 7, 8]]);
            };
            const activationOrder = name.startsWith("gptq") && { set: { gptq: { activationOrder: true } } };
            const scheme = schemeOf(name, { dtype: checkpoint.dtype, format, ...activationOrder });
            await quantizeCheckpoint(checkpoint, runner, folder, { scheme, calibration, force: true }, ctx);
            await runner.close();
          });
          await rm(dense, { recursive: true });
        }),
      );
    }
    return starts;
  },
  changes: (name) => name === "config.json" || name.endsWith(".safetensors"),
  read: (folder) =>
    withCheckpoint(folder, async (checkpoint) => {
      const dense = dequantizedCheckpoint(checkpoint);
      for (const layer of checkpoint.architecture.blocks.keys()) await dense.block(layer);
      const decoder = await openDecoder(checkpoint, { quantizedWeights: await quantizedWeights(checkpoint) });
      try {
        contiguousData(await firstOf(decoder.logits([tokenBatch([[1, 2, 3]])])));
      } finally {
        await decoder.close();
      }
    }),
};

async function writeAll(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  await mkdir(folder);
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
}
