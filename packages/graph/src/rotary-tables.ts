import type { Architecture, RotarySpec } from "@layerfold/checkpoint";
import { type OnnxTensor, onnxTensor } from "@layerfold/onnx";

/** The cosines and sines that an architecture's blocks rotate queries and keys by. */
export interface RotaryTables {
  /** Which table a spec reads; specs that rotate alike share one. */
  indexOf(spec: RotarySpec): number;
  /**
   * `cos.N` and `sin.N`, each [positions, rotaryDimension / 2], for every table.
   * @param positions - rows to make
   * @param sequenceLength - length of the sequence, which some frequencies depend on
   */
  values(positions: number, sequenceLength: number): Readonly<Record<string, OnnxTensor>>;
}

/** Longer than any context: tells apart specs whose frequencies differ only in long sequences. */
const veryLong = 2 ** 30;

/** Collects the distinct rotary tables of an architecture. The last tables made are kept. */
export function rotaryTables(architecture: Architecture): RotaryTables {
  const specs: RotarySpec[] = [];
  const keys: string[] = [];
  const keyOf = (spec: RotarySpec) =>
    JSON.stringify([
      spec.rotaryDimension,
      spec.attentionFactor,
      Array.from(spec.inverseFrequencies),
      Array.from(spec.inverseFrequenciesFor?.(veryLong) ?? []),
    ]);
  for (const { mixer } of architecture.blocks) {
    if (mixer.kind !== "attention" || !mixer.rotary || keys.includes(keyOf(mixer.rotary))) continue;
    specs.push(mixer.rotary);
    keys.push(keyOf(mixer.rotary));
  }
  let last = { positions: 0, sequenceLength: 0, values: {} as Record<string, OnnxTensor> };
  return {
    indexOf: (spec) => keys.indexOf(keyOf(spec)),
    values(positions, sequenceLength) {
      if (last.positions !== positions || last.sequenceLength !== sequenceLength) {
        const values: Record<string, OnnxTensor> = {};
        specs.forEach((spec, index) => {
          const frequencies = spec.inverseFrequenciesFor?.(sequenceLength) ?? spec.inverseFrequencies;
          const shape = [positions, frequencies.length];
          const cos = new Float32Array(positions * frequencies.length);
          const sin = new Float32Array(cos.length);
          for (let position = 0, i = 0; position < positions; position++) {
            for (const frequency of frequencies) {
              // Models were trained with angles rounded to float32.
              const angle = Math.fround(position * frequency);
              cos[i] = Math.cos(angle) * spec.attentionFactor;
              sin[i++] = Math.sin(angle) * spec.attentionFactor;
            }
          }
          values[`cos.${index}`] = onnxTensor("float32", cos, shape);
          values[`sin.${index}`] = onnxTensor("float32", sin, shape);
        });
        last = { positions, sequenceLength, values };
      }
      return last.values;
    },
  };
}
