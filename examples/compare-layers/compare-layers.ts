import { captureActivations } from "@layerfold/capture";
import {
  batchBySize,
  openCheckpoint,
  openTokenizer,
  readDocuments,
  tokenWindows,
} from "@layerfold/checkpoint";
import type { Matrix, RunContext } from "@layerfold/core";
import { openDecoder } from "@layerfold/graph";
import { npib } from "@layerfold/information";
import { seededRng } from "@layerfold/linalg";
import { diffusionMap } from "@layerfold/manifold";
import { onnxEngine } from "@layerfold/onnx";
import { similarityMatrix } from "@layerfold/similarity";

/**
 * The first half of MKA with the packages alone, no command line: what every layer leaves in the residual stream, embedded with a diffusion
 * map, compared by NPIB.
 *
 * @param model - checkpoint folder
 * @param text - calibration text, .txt or .jsonl
 * @returns [layers, layers]
 */
export async function compareLayers(model: string, text: string): Promise<Matrix> {
  const ctx: RunContext = { rng: seededRng(0), engine: onnxEngine() };
  const checkpoint = await openCheckpoint(model);
  const decoder = await openDecoder(checkpoint);
  try {
    const tokenizer = await openTokenizer(model);
    const { sequences } = tokenWindows(await readDocuments(text), tokenizer, { window: 512 });
    const batches = batchBySize(
      sequences.map(({ ids }) => ids),
      4096,
    ).map(({ batch }) => batch);
    const { layers } = await captureActivations(decoder, batches, { pooling: "last" }, ctx);
    return await similarityMatrix(npib(), layers, ctx, { embedding: diffusionMap({ dimensions: 2 }) });
  } finally {
    await decoder.close();
    await checkpoint.close();
  }
}
