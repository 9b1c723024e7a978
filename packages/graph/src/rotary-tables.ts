import type { Architecture, RotarySpec } from "@layerfold/core";
import { type OnnxTensor, onnxTensor } from "@layerfold/onnx";

/** The cosines and sines that an architecture's blocks rotate queries and keys by. */
export interface RotaryTables {
  /** Which table a spec reads; specs that rotate alike share one. */
  indexOf(spec: RotarySpec): number;
  /**
   * `cos.N` and `sin.N`, each [positions, rotaryDimension / 2], for every table.
   * @param positions - rows that are needed; there may be more
   * @param sequenceLength - length of the sequence, which some frequencies depend on
   */
  values(positions: number, sequenceLength: number): Readonly<Record<string, OnnxTensor>>;
  /** Whether another set of frequencies, one for long sequences, takes over as a sequence grows (longrope). */
  changeover(fromLength: number, toLength: number): boolean;
}

/** Longer than any context: tells apart specs whose frequencies differ only in long sequences. */
const veryLong = 2 ** 30;

/** Collects the distinct rotary tables of an architecture. The last ones made are kept, and grow in powers of two. */
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
  const made: { positions: number; frequencies: Float64Array; cos: OnnxTensor; sin: OnnxTensor }[] = [];
  return {
    indexOf: (spec) => keys.indexOf(keyOf(spec)),
    values(positions, sequenceLength) {
      const values: Record<string, OnnxTensor> = {};
      specs.forEach((spec, index) => {
        const frequencies = spec.inverseFrequenciesFor?.(sequenceLength) ?? spec.inverseFrequencies;
        if (!(made[index]?.positions >= positions) || made[index].frequencies !== frequencies) {
          made[index] = makeTable(spec.attentionFactor, frequencies, 2 ** Math.ceil(Math.log2(positions)));
        }
        values[`cos.${index}`] = made[index].cos;
        values[`sin.${index}`] = made[index].sin;
      });
      return values;
    },
    changeover: (fromLength, toLength) =>
      specs.some(({ inverseFrequenciesFor }) => {
        const long = inverseFrequenciesFor?.(veryLong);
        // Frequencies that grow with every token (dynamic) are a new array each time, and change nothing that is past.
        return inverseFrequenciesFor?.(toLength) === long && inverseFrequenciesFor?.(fromLength) !== long;
      }),
  };
}

function makeTable(attentionFactor: number, frequencies: Float64Array, positions: number) {
  const cos = new Float32Array(positions * frequencies.length);
  const sin = new Float32Array(cos.length);
  for (let position = 0, i = 0; position < positions; position++) {
    for (const frequency of frequencies) {
      // Models were trained with angles rounded to float32.
      const angle = Math.fround(position * frequency);
      cos[i] = Math.cos(angle) * attentionFactor;
      sin[i++] = Math.sin(angle) * attentionFactor;
    }
  }
  const shape = [positions, frequencies.length];
  return {
    positions,
    frequencies,
    cos: onnxTensor("float32", cos, shape),
    sin: onnxTensor("float32", sin, shape),
  };
}
