import { encodeFloats, fromFloat16Bits, LayerfoldError, toFloat16Bits } from "@layerfold/core";
import { codeUpTo, fitLine, fitScale, type LineFit } from "./block-fits.js";
import { type GgmlType, ggmlByteLength } from "./dequantize.js";

/**
 * Writes a block to `bytes[at]` and after.
 * @param weights - how much an error in each of the block's values counts
 */
type Encode = (values: Float64Array, weights: Float64Array, bytes: Uint8Array, at: number) => void;

/** A storage type of ggml that can be written: blocks of `blockSize` weights, laid out as in `dequantize.ts`. */
interface BlockWriter {
  readonly blockSize: number;
  readonly encode: Encode;
}

/** Writes a half and returns what it holds. @throws FLOAT_OVERFLOW */
function putHalf(bytes: Uint8Array, at: number, value: number): number {
  const bits = toFloat16Bits(value);
  if ((bits & 0x7fff) >= 0x7c00) {
    throw new LayerfoldError("FLOAT_OVERFLOW", "weights are too large for a scale of float16", {
      wanted: "a scale of at most 65504",
      got: `${value}`,
    });
  }
  bytes[at] = bits & 255;
  bytes[at + 1] = bits >> 8;
  return fromFloat16Bits(bits);
}

/** Codes of 4 or 5 bits around 0 behind a half. */
function centredBlocks({ fifthBit }: { fifthBit: boolean }): BlockWriter {
  const zero = fifthBit ? 16 : 8;
  return {
    blockSize: 32,
    encode(values, weights, bytes, at) {
      const scale = putHalf(bytes, at, fitScale(values, 32, weights, zero));
      const inverse = scale === 0 ? 0 : 1 / scale;
      const codeOf = (i: number) => codeUpTo(inverse * values[i] + zero, 2 * zero - 1);
      putSmallCodes(bytes, at + 2, fifthBit, codeOf);
    },
  };
}

/** Codes of 5 bits from 0 on behind a scale and a minimum, both halves. */
const q5_1: BlockWriter = {
  blockSize: 32,
  encode(values, weights, bytes, at) {
    fitLine(values, 32, weights, 31, false, line);
    const scale = putHalf(bytes, at, line.scale);
    const offset = putHalf(bytes, at + 2, line.offset);
    const inverse = scale === 0 ? 0 : 1 / scale;
    putSmallCodes(bytes, at + 4, true, (i) => codeUpTo(inverse * (values[i] - offset), 31));
  },
};

/** 32 codes, low nibbles first; the fifth bits of all lie in 4 bytes before. */
function putSmallCodes(bytes: Uint8Array, at: number, fifthBit: boolean, codeOf: (i: number) => number) {
  const codesAt = at + (fifthBit ? 4 : 0);
  bytes.fill(0, at, codesAt + 16);
  for (let i = 0; i < 32; i++) {
    const code = codeOf(i);
    bytes[codesAt + (i & 15)] |= (code & 15) << (i < 16 ? 0 : 4);
    if (fifthBit) bytes[at + (i >> 3)] |= (code >> 4) << (i & 7);
  }
}

/** Rounded to 127 levels of the largest value: ggml's own way to the bit, for there is hardly anything to gain. */
const q8_0: BlockWriter = {
  blockSize: 32,
  encode(values, _, bytes, at) {
    let largest = 0;
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[i]));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    putHalf(bytes, at, scale);
    for (let i = 0; i < 32; i++) {
      const level = Math.fround(values[i] * inverse);
      // Halves away from zero.
      bytes[at + 2 + i] = Math.sign(level) * Math.floor(Math.abs(level) + 0.5);
    }
  },
};

const line: LineFit = { scale: 0, offset: 0 };
const groupScales = new Float64Array(16);
const groupMinima = new Float64Array(8);
const scaleCodes = new Int32Array(16);
const minimumCodes = new Int32Array(8);
const codes = new Uint8Array(256);

/** 8 × 32 codes of 4 or 5 bits, with scales and minima of 6 bits under two halves. */
function superBlocks({ fifthBit }: { fifthBit: boolean }): BlockWriter {
  const most = fifthBit ? 31 : 15;
  return {
    blockSize: 256,
    encode(values, weights, bytes, at) {
      for (let group = 0; group < 8; group++) {
        const [first, end] = [32 * group, 32 * group + 32];
        fitLine(values.subarray(first, end), 32, weights.subarray(first, end), most, true, line);
        groupScales[group] = line.scale;
        groupMinima[group] = -line.offset;
      }
      let scale = halfOf(largest(groupScales, 8) / 63);
      let minimum = halfOf(largest(groupMinima, 8) / 63);
      chooseCodes(values, weights, most, scale, minimum);
      [scale, minimum] = refitted(values, weights, scale, minimum);
      chooseCodes(values, weights, most, scale, minimum);
      putHalf(bytes, at, scale);
      putHalf(bytes, at + 2, minimum);
      bytes.fill(0, at + 4, at + 16 + (fifthBit ? 160 : 128));
      putSixBits(bytes, at + 4);
      const codesAt = at + 16 + (fifthBit ? 32 : 0);
      for (let i = 0; i < 256; i++) {
        const group = i >> 5;
        bytes[codesAt + 32 * (group >> 1) + (i & 31)] |= (codes[i] & 15) << (4 * (group & 1));
        if (fifthBit) bytes[at + 16 + (i & 31)] |= (codes[i] >> 4) << group;
      }
    },
  };
}

function halfOf(value: number): number {
  return fromFloat16Bits(toFloat16Bits(value));
}

function largest(list: Float64Array, count: number): number {
  let most = 0;
  for (let i = 0; i < count; i++) most = Math.max(most, list[i]);
  return most;
}

/** For every group the 6-bit scale and minimum, of those around the wanted ones, that leave the least error; and the codes. */
function chooseCodes(
  values: Float64Array,
  weights: Float64Array,
  most: number,
  scale: number,
  minimum: number,
): void {
  for (let group = 0; group < 8; group++) {
    const first = 32 * group;
    const near = (wanted: number, unit: number) => (unit === 0 ? 0 : codeUpTo(wanted / unit, 63));
    const [nearScale, nearMinimum] = [near(groupScales[group], scale), near(groupMinima[group], minimum)];
    let best = Number.POSITIVE_INFINITY;
    for (let s = Math.max(0, nearScale - 1); s <= Math.min(63, nearScale + 1); s++) {
      const step = scale * s;
      const inverse = step === 0 ? 0 : 1 / step;
      for (let m = Math.max(0, nearMinimum - 1); m <= Math.min(63, nearMinimum + 1); m++) {
        const offset = minimum * m;
        let error = 0;
        for (let i = first; i < first + 32 && error < best; i++) {
          const value = values[i] + offset;
          const miss = step * codeUpTo(inverse * value, most) - value;
          error += weights[i] * miss * miss;
        }
        if (error >= best) continue;
        best = error;
        scaleCodes[group] = s;
        minimumCodes[group] = m;
      }
    }
    const step = scale * scaleCodes[group];
    const inverse = step === 0 ? 0 : 1 / step;
    const offset = minimum * minimumCodes[group];
    for (let i = first; i < first + 32; i++) codes[i] = codeUpTo(inverse * (values[i] + offset), most);
  }
}

/** The two halves that fit the chosen codes best, by least squares; those that were there where there are none. */
function refitted(
  values: Float64Array,
  weights: Float64Array,
  scale: number,
  minimum: number,
): [scale: number, minimum: number] {
  let [aa, ab, bb, ax, bx] = [0, 0, 0, 0, 0];
  for (let i = 0; i < 256; i++) {
    const a = scaleCodes[i >> 5] * codes[i];
    const b = -minimumCodes[i >> 5];
    const weight = weights[i];
    const value = values[i];
    aa += weight * a * a;
    ab += weight * a * b;
    bb += weight * b * b;
    ax += weight * a * value;
    bx += weight * b * value;
  }
  const determinant = aa * bb - ab * ab;
  if (determinant <= 1e-9 * aa * bb)
    return aa > 0 && bb === 0 ? [halfOf(ax / aa), minimum] : [scale, minimum];
  const better = [
    halfOf((ax * bb - bx * ab) / determinant),
    halfOf((bx * aa - ax * ab) / determinant),
  ] as const;
  return better[0] > 0 && better[1] >= 0 ? [better[0], better[1]] : [scale, minimum];
}

/** 8 scales and 8 minima of 6 bits in 12 bytes: the first four of each whole, the upper bits of the others above them. */
function putSixBits(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < 4; j++) {
    const [s, m] = [scaleCodes[j + 4], minimumCodes[j + 4]];
    bytes[at + j] = scaleCodes[j] | ((s >> 4) << 6);
    bytes[at + 4 + j] = minimumCodes[j] | ((m >> 4) << 6);
    bytes[at + 8 + j] = (s & 15) | ((m & 15) << 4);
  }
}

/** 16 × 16 codes of 6 bits around 0, with signed 8-bit scales under one half. */
const q6_k: BlockWriter = {
  blockSize: 256,
  encode(values, weights, bytes, at) {
    let extreme = 0;
    for (let group = 0; group < 16; group++) {
      const [first, end] = [16 * group, 16 * group + 16];
      const scale = fitScale(values.subarray(first, end), 16, weights.subarray(first, end), 32);
      groupScales[group] = scale;
      if (Math.abs(scale) > Math.abs(extreme)) extreme = scale;
    }
    let unit = halfOf(extreme / -128);
    chooseSigned(values, weights, unit);
    let [product, square] = [0, 0];
    for (let i = 0; i < 256; i++) {
      const level = scaleCodes[i >> 4] * (codes[i] - 32);
      product += weights[i] * level * values[i];
      square += weights[i] * level * level;
    }
    const better = square > 0 ? halfOf(product / square) : 0;
    if (better !== 0 && Number.isFinite(better)) unit = better;
    chooseSigned(values, weights, unit);
    bytes.fill(0, at, at + 192);
    for (let i = 0; i < 256; i++) {
      const [part, row] = [i >> 7, (i >> 5) & 3];
      bytes[at + 64 * part + 32 * (row & 1) + (i & 31)] |= (codes[i] & 15) << (row < 2 ? 0 : 4);
      bytes[at + 128 + 32 * part + (i & 31)] |= (codes[i] >> 4) << (2 * row);
    }
    for (let group = 0; group < 16; group++) bytes[at + 192 + group] = scaleCodes[group];
    putHalf(bytes, at + 208, unit);
  },
};

/** For every group the 8-bit scale, of those around the wanted one, that leaves the least error; and the codes. */
function chooseSigned(values: Float64Array, weights: Float64Array, unit: number): void {
  for (let group = 0; group < 16; group++) {
    const first = 16 * group;
    const near = unit === 0 ? 0 : codeUpTo(groupScales[group] / unit + 128, 255) - 128;
    let best = Number.POSITIVE_INFINITY;
    for (let s = Math.max(-128, near - 1); s <= Math.min(127, near + 1); s++) {
      const step = unit * s;
      const inverse = step === 0 ? 0 : 1 / step;
      let error = 0;
      for (let i = first; i < first + 16 && error < best; i++) {
        const value = values[i];
        const miss = step * (codeUpTo(inverse * value + 32, 63) - 32) - value;
        error += weights[i] * miss * miss;
      }
      if (error >= best) continue;
      best = error;
      scaleCodes[group] = s;
    }
    const step = unit * scaleCodes[group];
    const inverse = step === 0 ? 0 : 1 / step;
    for (let i = first; i < first + 16; i++) codes[i] = codeUpTo(inverse * values[i] + 32, 63);
  }
}

const writers: Partial<Record<GgmlType, BlockWriter>> = {
  Q4_0: centredBlocks({ fifthBit: false }),
  Q5_0: centredBlocks({ fifthBit: true }),
  Q5_1: q5_1,
  Q8_0: q8_0,
  Q4_K: superBlocks({ fifthBit: false }),
  Q5_K: superBlocks({ fifthBit: true }),
  Q6_K: q6_k,
};

const plain = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * Rows of weights in a storage type of ggml. The scales are those that leave the least squared error, or nearly so; with `importance` every
 * error counts as much as what it is multiplied by: the mean square of its input.
 *
 * @param values - whole rows of `columns`, which are whole blocks of the type
 * @param importance - [columns], none negative; default: all alike
 * @throws WEIGHT_NOT_FINITE, FLOAT_OVERFLOW where a number does not fit the type, GGUF_INVALID where rows do not fill whole blocks,
 * GGUF_TYPE_UNKNOWN for one that can only be read
 */
export function quantizeRows(
  type: GgmlType,
  values: Float32Array,
  columns: number,
  importance?: Float32Array,
): Uint8Array {
  if (type in plain) return encodeFloats(values, plain[type as keyof typeof plain]);
  const writer = writers[type];
  if (!writer) {
    throw new LayerfoldError("GGUF_TYPE_UNKNOWN", "cannot write this quantisation type", {
      wanted: [...Object.keys(plain), ...Object.keys(writers)].join(", "),
      got: type,
    });
  }
  const odd = values.findIndex((value) => !Number.isFinite(value));
  if (odd >= 0) {
    throw new LayerfoldError("WEIGHT_NOT_FINITE", "cannot quantise a weight that is no number", {
      wanted: "finite weights",
      got: `${values[odd]} at index ${odd}`,
    });
  }
  const { blockSize, encode } = writer;
  const rowBytes = ggmlByteLength(type, columns, "a row");
  const blockBytes = (rowBytes / columns) * blockSize;
  const bytes = new Uint8Array((values.length / columns) * rowBytes);
  const block = new Float64Array(blockSize);
  const weights = new Float64Array(blockSize).fill(1);
  for (let from = 0, at = 0; from < values.length; from += blockSize, at += blockBytes) {
    for (let i = 0; i < blockSize; i++) block[i] = values[from + i];
    if (importance) weighBlock(weights, importance, from % columns);
    encode(block, weights, bytes, at);
  }
  return bytes;
}

/** A block whose inputs were never anything but 0 is fitted as if all counted alike. */
function weighBlock(weights: Float64Array, importance: Float32Array, column: number): void {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i] = importance[column + i];
  if (!(sum > 0)) weights.fill(1);
}
