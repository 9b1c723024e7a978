import { openSafetensors, writeSafetensors } from "@layerfold/checkpoint";

/**
 * Writes the largest |input| of every channel by module name, SmoothQuant's act_scales, as safetensors: one float32 [in] tensor per
 * module.
 */
export async function writeActivationScales(
  file: string,
  scales: ReadonlyMap<string, Float64Array>,
  signal?: AbortSignal,
): Promise<void> {
  const tensors = [...scales].map(([name, values]) => ({
    name,
    dtype: "float32" as const,
    shape: [values.length],
    bytes: () => new Uint8Array(Float32Array.from(values).buffer),
  }));
  await writeSafetensors(file, tensors, {}, signal);
}

/** Reads what {@link writeActivationScales} writes. */
export async function readActivationScales(file: string): Promise<Map<string, Float64Array>> {
  const opened = await openSafetensors(file);
  try {
    const scales = new Map<string, Float64Array>();
    for (const name of opened.tensors.keys()) {
      const { data } = await opened.read(name);
      scales.set(name, Float64Array.from(data));
    }
    return scales;
  } finally {
    await opened.close();
  }
}
