import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSafetensors, readTextFile, type SafetensorsFile, writeSafetensors } from "@layerfold/checkpoint";
import {
  type Activations,
  contiguousData,
  encodeFloats,
  type Floats,
  LayerfoldError,
  type Matrix,
  parseJson,
  tensor,
  z,
} from "@layerfold/core";
import { type OutputRules, writeFolder } from "@layerfold/disk";
import { parsePooling } from "./pooling.js";

/** Where recorded activations came from. */
export interface ActivationsMeta {
  /** SHA-256 of the model, hex. */
  readonly model: string;
  /** SHA-256 of what was run through the model, hex. */
  readonly calibration: string;
  /** As `poolingName` gives it. */
  readonly pooling: string;
}

const headerSchema = z.object({
  version: z.literal(1),
  model: z.string(),
  calibration: z.string(),
  pooling: z.string(),
  layer_count: z.number().int().min(1),
  hidden_size: z.number().int().min(1),
  sample_count: z.number().int().min(1),
  token_count: z.number().int().min(1),
});

const dataName = "activations.safetensors";
const headerName = "activations.json";

/**
 * Writes `activations.safetensors` (`layer.0` … `layer.L-1`, [samples, hidden] float32; `statistics.cosine`, `.angle`, `.norm`
 * float64) and `activations.json` (origin and sizes) as a folder, whole.
 * @throws what `writeFolder` throws
 */
export async function saveActivations(
  directory: string,
  activations: Activations,
  meta: ActivationsMeta,
  rules: OutputRules = {},
  signal?: AbortSignal,
): Promise<void> {
  const { layers, statistics } = activations;
  const source = (name: string, values: Matrix) => ({
    name,
    dtype: values.data instanceof Float64Array ? ("float64" as const) : ("float32" as const),
    shape: values.shape,
    bytes: () => {
      const data = contiguousData<Floats>(values);
      return encodeFloats(data, data instanceof Float64Array ? "float64" : "float32");
    },
  });
  const sources = [
    source("statistics.cosine", statistics.cosine),
    source("statistics.angle", statistics.angle),
    source("statistics.norm", tensor(statistics.norm)),
    ...layers.map((values, l) => source(`layer.${l}`, values)),
  ];
  const header: z.infer<typeof headerSchema> = {
    version: 1,
    ...meta,
    layer_count: layers.length,
    hidden_size: layers[0].shape[1],
    sample_count: layers[0].shape[0],
    token_count: statistics.tokenCount,
  };
  await writeFolder(directory, rules, async (folder) => {
    await writeSafetensors(join(folder, dataName), sources, {}, signal);
    await writeFile(join(folder, headerName), `${JSON.stringify(header, null, 2)}\n`);
  });
}

/**
 * Reads what `saveActivations` wrote.
 * @throws RECORDING_MISSING when the folder holds no finished recording, RECORDING_INVALID when header and tensors disagree
 */
export async function loadActivations(
  directory: string,
): Promise<{ activations: Activations; meta: ActivationsMeta }> {
  const header = await readHeader(join(directory, headerName));
  const file = await openSafetensors(join(directory, dataName));
  try {
    const { layer_count: layerCount, hidden_size, sample_count, token_count: tokenCount } = header;
    const depths = layerCount + 1;
    const float64 = async (name: string, shape: readonly number[]) => {
      check(file, name, "float64", shape);
      return new Float64Array((await file.readBytes(name)).buffer);
    };
    const square = async (name: string) => tensor(await float64(name, [depths, depths]), [depths, depths]);
    const layers: Matrix<Float32Array>[] = [];
    for (let l = 0; l < layerCount; l++) {
      check(file, `layer.${l}`, "float32", [sample_count, hidden_size]);
      layers.push(await file.read(`layer.${l}`));
    }
    const statistics = {
      layerCount,
      tokenCount,
      cosine: await square("statistics.cosine"),
      angle: await square("statistics.angle"),
      norm: await float64("statistics.norm", [depths]),
    };
    const { model, calibration, pooling } = header;
    return { activations: { layers, statistics }, meta: { model, calibration, pooling } };
  } finally {
    await file.close();
  }
}

async function readHeader(path: string): Promise<z.infer<typeof headerSchema>> {
  let text: string;
  try {
    text = await readTextFile(path);
  } catch (cause) {
    throw new LayerfoldError("RECORDING_MISSING", "no recorded activations here", {
      wanted: headerName,
      where: path,
      cause,
    });
  }
  try {
    const header = headerSchema.parse(parseJson(text));
    parsePooling(header.pooling);
    return header;
  } catch (cause) {
    throw new LayerfoldError("RECORDING_INVALID", "cannot read the recording's header", {
      where: path,
      cause,
    });
  }
}

function check(file: SafetensorsFile, name: string, dtype: string, shape: readonly number[]): void {
  const stored = file.tensors.get(name);
  if (stored?.dtype === dtype && `${stored.shape}` === `${shape}`) return;
  throw new LayerfoldError("RECORDING_INVALID", "the recording does not hold what its header says", {
    wanted: `${name}, ${dtype} [${shape.join(", ")}]`,
    got: stored ? `${stored.dtype} [${stored.shape.join(", ")}]` : "no such tensor",
    where: file.file,
  });
}
