import { decodeFloats, fromFloat16Bits, LayerfoldError } from "@layerfold/core";

/** A storage type of ggml: weights in blocks of `blockSize`, each `blockBytes` long. */
interface BlockType {
  readonly blockSize: number;
  readonly blockBytes: number;
  /** Writes the `blockSize` values of the block at `bytes[at]` to `out[to]` and after. */
  decode(bytes: Uint8Array, at: number, out: Float32Array, to: number): void;
}

function half(bytes: Uint8Array, at: number): number {
  return fromFloat16Bits(bytes[at] | (bytes[at + 1] << 8));
}

function signed(byte: number): number {
  return (byte << 24) >> 24;
}

/** Blocks of 32 codes of 4 bits, low nibbles first, after a scale and maybe a minimum; a fifth bit of each may lie in 4 bytes between. */
function smallBlocks({ minimum, fifthBit }: { minimum: boolean; fifthBit: boolean }): BlockType {
  const highAt = minimum ? 4 : 2;
  const codesAt = highAt + (fifthBit ? 4 : 0);
  const zero = minimum ? 0 : fifthBit ? 16 : 8;
  return {
    blockSize: 32,
    blockBytes: codesAt + 16,
    decode(bytes, at, out, to) {
      const scale = half(bytes, at);
      // Adding −0 leaves every number as it is, −0 too.
      const offset = minimum ? half(bytes, at + 2) : -0;
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + codesAt + (i & 15)];
        let code = i < 16 ? byte & 15 : byte >> 4;
        if (fifthBit) code |= ((bytes[at + highAt + (i >> 3)] >> (i & 7)) & 1) << 4;
        out[to + i] = scale * (code - zero) + offset;
      }
    },
  };
}

/**
 * Super-blocks of 8 × 32 codes of 4 or 5 bits: two halves (scale of the scales, scale of the minima), then 8 scales and 8 minima of 6 bits
 * in 12 bytes.
 */
function superBlocks({ fifthBit }: { fifthBit: boolean }): BlockType {
  const codesAt = 16 + (fifthBit ? 32 : 0);
  return {
    blockSize: 256,
    blockBytes: codesAt + 128,
    decode(bytes, at, out, to) {
      const scale = half(bytes, at);
      const minimumScale = half(bytes, at + 2);
      const packed = at + 4;
      for (let group = 0; group < 8; group++) {
        const j = group & 3;
        const [low, high, mixed] = [bytes[packed + j], bytes[packed + 4 + j], bytes[packed + 8 + j]];
        const s = scale * (group < 4 ? low & 63 : (mixed & 15) | ((low >> 2) & 48));
        const m = minimumScale * (group < 4 ? high & 63 : (mixed >> 4) | ((high >> 2) & 48));
        for (let i = 0; i < 32; i++) {
          const byte = bytes[at + codesAt + 32 * (group >> 1) + i];
          let code = group & 1 ? byte >> 4 : byte & 15;
          if (fifthBit) code |= ((bytes[at + 16 + i] >> group) & 1) << 4;
          out[to + 32 * group + i] = s * code - m;
        }
      }
    },
  };
}

const q8_0: BlockType = {
  blockSize: 32,
  blockBytes: 34,
  decode(bytes, at, out, to) {
    const scale = half(bytes, at);
    for (let i = 0; i < 32; i++) out[to + i] = scale * signed(bytes[at + 2 + i]);
  },
};

/** 256 codes of 6 bits (4 low bits in 128 bytes, 2 high ones in 64), 16 signed 8-bit scales, and a half. */
const q6_k: BlockType = {
  blockSize: 256,
  blockBytes: 210,
  decode(bytes, at, out, to) {
    const scale = half(bytes, at + 208);
    for (let i = 0; i < 256; i++) {
      const part = i >> 7;
      const row = (i >> 5) & 3;
      const low = bytes[at + 64 * part + 32 * (row & 1) + (i & 31)];
      const high = bytes[at + 128 + 32 * part + (i & 31)];
      const code = (row < 2 ? low & 15 : low >> 4) | (((high >> (2 * row)) & 3) << 4);
      out[to + i] = scale * signed(bytes[at + 192 + (i >> 4)]) * (code - 32);
    }
  },
};

/** 256 codes of 2 bits after 16 bytes of a 4-bit scale and a 4-bit minimum for 16 codes each; then the halves that scale those. */
const q2_k: BlockType = {
  blockSize: 256,
  blockBytes: 84,
  decode(bytes, at, out, to) {
    const scale = half(bytes, at + 80);
    const minimumScale = half(bytes, at + 82);
    for (let i = 0; i < 256; i++) {
      const packed = bytes[at + (i >> 4)];
      const code = twoBits(bytes, at + 16, i);
      out[to + i] = scale * (packed & 15) * code - minimumScale * (packed >> 4);
    }
  },
};

/** 256 codes of 3 bits (the high one in 32 bytes before, 2 low ones in 64), 16 scales of 6 bits in 12 bytes, and a half. */
const q3_k: BlockType = {
  blockSize: 256,
  blockBytes: 110,
  decode(bytes, at, out, to) {
    const scale = half(bytes, at + 108);
    for (let i = 0; i < 256; i++) {
      const group = i >> 4;
      const low = bytes[at + 96 + (group & 7)];
      const high = bytes[at + 104 + (group & 3)];
      const groupScale = (group < 8 ? low & 15 : low >> 4) | (((high >> (2 * (group >> 2))) & 3) << 4);
      const highBit = (bytes[at + (i & 31)] >> (i >> 5)) & 1;
      const code = twoBits(bytes, at + 32, i) | (highBit << 2);
      out[to + i] = scale * (groupScale - 32) * (code - 4);
    }
  },
};

/** Code `i` of 256 codes of 2 bits: four rows of 32 lie over one another in 32 bytes, twice. */
function twoBits(bytes: Uint8Array, at: number, i: number): number {
  return (bytes[at + 32 * (i >> 7) + (i & 31)] >> (2 * ((i >> 5) & 3))) & 3;
}

/** The 16 levels of the non-linear 4-bit types, as in ggml. */
const nonLinear = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/** E2M1 numbers, doubled: the elements of the OCP microscaling format MXFP4. */
const e2m1Doubled = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/** Blocks of 32 codes of 4 bits, low nibbles first, that point into a table of levels; `scaleBytes` bytes of scale before. */
function levelBlocks(
  levels: readonly number[],
  scaleBytes: number,
  scaleOf: (bytes: Uint8Array, at: number) => number,
): BlockType {
  return {
    blockSize: 32,
    blockBytes: scaleBytes + 16,
    decode(bytes, at, out, to) {
      const scale = scaleOf(bytes, at);
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + scaleBytes + (i & 15)];
        out[to + i] = scale * levels[i < 16 ? byte & 15 : byte >> 4];
      }
    },
  };
}

/** 8 × 32 codes into the non-linear levels; a half, 8 scales of 6 bits (2 high ones in 2 bytes, 4 low ones in 4), the codes. */
const iq4_xs: BlockType = {
  blockSize: 256,
  blockBytes: 136,
  decode(bytes, at, out, to) {
    const scale = half(bytes, at);
    for (let group = 0; group < 8; group++) {
      const low = (bytes[at + 4 + (group >> 1)] >> (4 * (group & 1))) & 15;
      const high = (bytes[at + 2 + (group >> 2)] >> (2 * (group & 3))) & 3;
      const groupScale = scale * ((low | (high << 4)) - 32);
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + 8 + 16 * group + (i & 15)];
        out[to + 32 * group + i] = groupScale * nonLinear[i < 16 ? byte & 15 : byte >> 4];
      }
    }
  },
};

const plain = (dtype: "float32" | "float16" | "bfloat16", blockBytes: number) => ({
  blockSize: 1,
  blockBytes,
  dtype,
});

const types = {
  F32: plain("float32", 4),
  F16: plain("float16", 2),
  BF16: plain("bfloat16", 2),
  Q8_0: q8_0,
  Q4_0: smallBlocks({ minimum: false, fifthBit: false }),
  Q4_1: smallBlocks({ minimum: true, fifthBit: false }),
  Q5_0: smallBlocks({ minimum: false, fifthBit: true }),
  Q5_1: smallBlocks({ minimum: true, fifthBit: true }),
  Q2_K: q2_k,
  Q3_K: q3_k,
  Q4_K: superBlocks({ fifthBit: false }),
  Q5_K: superBlocks({ fifthBit: true }),
  Q6_K: q6_k,
  IQ4_NL: levelBlocks(nonLinear, 2, half),
  IQ4_XS: iq4_xs,
  // The scale is a power of two, and half of it makes up for the doubled levels.
  MXFP4: levelBlocks(e2m1Doubled, 1, (bytes, at) => 2 ** (bytes[at] - 128)),
};

/** A ggml storage type that can be read. */
export type GgmlType = keyof typeof types;

export const ggmlTypes = Object.keys(types) as GgmlType[];

/** ggml's types by their number in a file (ggml.h); null is one that is no more. */
// biome-ignore format: by number
const numbered = [
  "F32", "F16", "Q4_0", "Q4_1", null, null, "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_K",
  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64", "IQ1_M", "BF16",
  null, null, null, "TQ1_0", "TQ2_0", null, null, null, "MXFP4", "NVFP4",
];

/**
 * The storage type of a number in a file.
 * @throws GGUF_TYPE_UNKNOWN, naming those that can be read
 */
export function ggmlTypeOf(number: number, where: string): GgmlType {
  const name = numbered[number] ?? `type ${number}`;
  if (name in types) return name as GgmlType;
  throw new LayerfoldError("GGUF_TYPE_UNKNOWN", "unknown quantisation type", {
    wanted: ggmlTypes.join(", "),
    got: name,
    where,
  });
}

/** Number of a storage type in a file. */
export function ggmlTypeNumber(type: GgmlType): number {
  return numbered.indexOf(type);
}

/** Weights that a block of the type holds; 1 where there are no blocks. */
export function ggmlBlockSize(type: GgmlType): number {
  return types[type].blockSize;
}

/**
 * Bytes of `count` weights.
 * @throws GGUF_INVALID where they do not fill whole blocks
 */
export function ggmlByteLength(type: GgmlType, count: number, where: string): number {
  const { blockSize, blockBytes } = types[type];
  if (count % blockSize !== 0) {
    throw new LayerfoldError("GGUF_INVALID", "a tensor does not fill whole blocks", {
      wanted: `a multiple of ${blockSize} weights for ${type}`,
      got: `${count}`,
      where,
    });
  }
  return (count / blockSize) * blockBytes;
}

/**
 * Weights of a ggml storage type as float32, to the bit what ggml's reference gives.
 * @param bytes - whole blocks
 */
export function dequantize(type: GgmlType, bytes: Uint8Array): Float32Array {
  const found = types[type];
  if ("dtype" in found) return decodeFloats(bytes, found.dtype);
  const { blockSize, blockBytes } = found;
  const blocks = bytes.length / blockBytes;
  const out = new Float32Array(blocks * blockSize);
  for (let block = 0; block < blocks; block++)
    found.decode(bytes, block * blockBytes, out, block * blockSize);
  return out;
}
