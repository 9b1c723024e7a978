import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TokenSequence } from "@layerfold/checkpoint";
import type { Quantizer } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import {
  type QuantizationRecord,
  type QuantizedCheckpoint,
  readActivationScales,
  writeActivationScales,
} from "@layerfold/quantize";
import { type Artefact, type Codec, defineTask } from "@layerfold/tasks";
import { type PluginReference, pluginOf } from "../plugin-reference.js";
import { quantizeModel } from "./quantize-model.js";
import { allThreads } from "./resources.js";
import { type SchemeReference, schemeOfReference } from "./scheme-reference.js";
import { placed, type StoredModel, sharedCheckpoint } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** A quantised checkpoint, and what is known of it. */
export interface StoredQuantization extends StoredModel {
  readonly tensorBytes: number;
  readonly parameterCount: number;
  readonly embeddingBytes: number;
  readonly log: readonly QuantizationRecord[];
  readonly activationScales: QuantizedCheckpoint["activationScales"];
}

const scalesFile = "activation-scales.safetensors";

const quantizationCodec: Codec<StoredQuantization> = {
  name: "quantized",
  async write({ directory, activationScales, ...facts }, path) {
    await mkdir(path);
    await rename(directory, join(path, "checkpoint"));
    if (activationScales.size > 0) await writeActivationScales(join(path, scalesFile), activationScales);
    await writeFile(join(path, "quantized.json"), `${JSON.stringify(facts, null, 2)}\n`);
  },
  async read(path) {
    const facts = JSON.parse(await readFile(join(path, "quantized.json"), "utf8"));
    const scales = await readActivationScales(join(path, scalesFile)).catch((error) => {
      if (error.code !== "FILE_MISSING") throw error;
    });
    return { ...facts, activationScales: scales ?? new Map(), directory: join(path, "checkpoint") };
  },
};

/** How a model is quantised. */
export type QuantizeParameters = {
  readonly scheme: SchemeReference;
  readonly embedding_bits: 4 | 8 | null;
  /** Modules whose name matches: another quantizer, or none. */
  readonly overrides: readonly { readonly match: string; readonly quantizer: PluginReference | null }[];
  /** Of the model that codes are taken over from: the layer that each one here may have been. */
  readonly reused_layers: readonly number[] | null;
  readonly seed: number;
};

interface QuantizeInputs {
  readonly model: Artefact<StoredModel>;
  readonly text: Artefact<readonly TokenSequence[]> | undefined;
  /** Quantised: what is the same here keeps its codes. */
  readonly reuse: Artefact<StoredModel> | undefined;
  /** Largest |input| of each channel, in the stead of what the text shows. */
  readonly scales: Artefact<ReadonlyMap<string, Float64Array>> | undefined;
  readonly [name: string]: Artefact | undefined;
}

/** A model's quantised copy. A try that was broken off goes on behind the layers that it had finished. */
export const quantizeTask = defineTask({
  kind: "quantize",
  code: taskCode(import.meta.url),
  codec: quantizationCodec,
  resources: allThreads,
  async run(
    { scheme, embedding_bits, overrides, reused_layers, seed }: QuantizeParameters,
    { model, text, reuse, scales }: QuantizeInputs,
    ctx,
  ): Promise<StoredQuantization> {
    const { checkpoint, place } = await sharedCheckpoint(model, ctx);
    const scratch = await ctx.scratch();
    const out = join(scratch, "checkpoint");
    // Of a try that was killed before its end.
    await rm(out, { recursive: true, force: true });
    const origin = reuse && (await sharedCheckpoint(reuse, ctx)).checkpoint;
    const { written, ...facts } = await quantizeModel(
      checkpoint,
      {
        scheme: schemeOfReference(scheme),
        embeddingBits: embedding_bits ?? undefined,
        sequences: await text?.read(),
        activationScales: await scales?.read(),
        overrides: overrides.map(({ match, quantizer }) => ({
          match,
          ...(quantizer !== null && { quantizer: pluginOf<Quantizer>(quantizer) }),
        })),
        reuse: origin && reused_layers ? { checkpoint: origin, layers: reused_layers } : undefined,
        out,
        unfinished: join(scratch, "layers"),
        place,
      },
      { ...ctx, rng: seededRng(seed) },
    );
    const { directory, tensorBytes, parameterCount } = written;
    return { directory, tensorBytes, parameterCount, ...placed(place), ...facts };
  },
});
