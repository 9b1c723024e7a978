import {
  fromBfloat16Bits,
  fromFloat16Bits,
  LayerfoldError,
  toBfloat16Bits,
  toFloat16Bits,
  z,
} from "@layerfold/core";

/** Options that every quantizer shares: which grid a group of weights is laid on. */
export const gridOptions = {
  bits: z.literal([2, 3, 4, 8]).default(4).describe("bits of a code"),
  groupSize: z
    .union([z.literal(-1), z.number().int().min(1)])
    .default(128)
    .describe("consecutive input channels that share a scale; −1: the whole row"),
  symmetric: z.boolean().default(true).describe("one zero point, 2^(bits−1), for all; else one per group"),
  rangeIncludesZero: z
    .boolean()
    .default(true)
    .describe(
      "asymmetric only: widen a group's range so that it holds 0 (GPTQ, compressed-tensors); AWQ does not",
    ),
  smallestZeroPoint: z
    .literal([0, 1])
    .default(0)
    .describe("asymmetric only: least zero point. 1 for GPTQ v1 files, which store zero point − 1"),
  scaleDtype: z
    .literal(["float16", "bfloat16", "float32"])
    .default("float16")
    .describe("type in which the scale will be stored: codes are chosen for the scale as stored"),
} as const;

/** The resolved {@link gridOptions}, but for the group size. */
export interface GridRule {
  readonly bits: 2 | 3 | 4 | 8;
  readonly symmetric: boolean;
  readonly rangeIncludesZero: boolean;
  readonly smallestZeroPoint: 0 | 1;
  readonly scaleDtype: "float16" | "bfloat16" | "float32";
}

/** The value that remains of `value` when it is stored in `dtype`. */
export function storedValue(value: number, dtype: GridRule["scaleDtype"]): number {
  if (dtype === "float16") return fromFloat16Bits(toFloat16Bits(value));
  if (dtype === "bfloat16") return fromBfloat16Bits(toBfloat16Bits(value));
  return Math.fround(value);
}

// Least positive number of each type: a scale must not vanish where its group does not.
const tiniest = { float16: 2 ** -24, bfloat16: 2 ** -126, float32: 2 ** -126 } as const;

/**
 * Scale and zero point of one group.
 *
 * Symmetric: scale = 2·max|w| / (2^bits − 1), zero = 2^(bits−1). Asymmetric: scale = (max − min) / (2^bits − 1),
 * zero = clamp(round(−min / scale)). Then code = clamp(round(w / scale) + zero) and w ≈ scale · (code − zero).
 * A group of zeros gets scale 1.
 *
 * @param values - where the group's weights lie
 * @param start - first index
 * @param end - index after the last
 * @throws WEIGHT_NOT_FINITE on NaN or infinity, SCALE_OVERFLOW where the scale type cannot hold the scale
 */
export function fitGrid(
  values: Float32Array | Float64Array,
  start: number,
  end: number,
  rule: GridRule,
): { scale: number; zeroPoint: number } {
  let minimum = Number.POSITIVE_INFINITY;
  let maximum = Number.NEGATIVE_INFINITY;
  let sum = 0;
  for (let i = start; i < end; i++) {
    const value = values[i];
    if (value < minimum) minimum = value;
    if (value > maximum) maximum = value;
    sum += value;
  }
  if (!Number.isFinite(sum)) {
    throw new LayerfoldError("WEIGHT_NOT_FINITE", "a weight is not a finite number", { got: `${sum}` });
  }
  return gridOfRange(minimum, maximum, rule);
}

/** The same from a group's least and largest weight. */
export function gridOfRange(
  minimum: number,
  maximum: number,
  rule: GridRule,
): { scale: number; zeroPoint: number } {
  const top = 2 ** rule.bits - 1;
  const middle = 2 ** (rule.bits - 1);
  if (minimum === 0 && maximum === 0) return { scale: 1, zeroPoint: middle };
  if (rule.symmetric) {
    return {
      scale: storedScale((2 * Math.max(-minimum, maximum)) / top, rule.scaleDtype),
      zeroPoint: middle,
    };
  }
  const low = rule.rangeIncludesZero ? Math.min(minimum, 0) : minimum;
  const high = rule.rangeIncludesZero ? Math.max(maximum, 0) : maximum;
  // AWQ's floor on the range, so that a constant group has a scale.
  const scale = storedScale(Math.max(high - low, 1e-5) / top, rule.scaleDtype);
  const zeroPoint = Math.min(Math.max(roundHalfEven(-low / scale), rule.smallestZeroPoint), top);
  return { scale, zeroPoint };
}

/** A scale as it will be stored, never 0. @throws SCALE_OVERFLOW */
export function storedScale(scale: number, dtype: GridRule["scaleDtype"]): number {
  const stored = storedValue(scale, dtype);
  if (!Number.isFinite(stored)) {
    throw new LayerfoldError("SCALE_OVERFLOW", "the scale type cannot hold the scale", {
      wanted: `a scale within ${dtype}`,
      got: `${scale}`,
    });
  }
  return Math.max(stored, tiniest[dtype]);
}

/** The nearest integer, ties to even, for |x| < 2^51. */
export function roundHalfEven(x: number): number {
  // Adding 1.5·2^52 leaves no bits for a fraction, and IEEE addition rounds ties to even.
  return x + 6755399441055744 - 6755399441055744;
}

/**
 * The group size in input channels.
 *
 * @param columns - input channels of the weight
 * @param groupSize - as asked for; −1 is the whole row
 * @throws GROUP_SIZE_INVALID where it does not divide the input, listing the sizes that do
 */
export function resolveGroupSize(columns: number, groupSize: number, where?: string): number {
  if (groupSize === -1) return columns;
  if (columns % groupSize === 0) return groupSize;
  const divisors = Array.from({ length: columns }, (_, i) => i + 1).filter(
    (d) => d >= 8 && columns % d === 0,
  );
  throw new LayerfoldError("GROUP_SIZE_INVALID", "the group size does not divide the input", {
    wanted: `-1${divisors.map((d) => `, ${d}`).join("")}`,
    got: `${groupSize} for ${columns} input channels`,
    where,
  });
}
