const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

/** The largest finite float8 e4m3 number. */
export const float8Maximum = 448;

/** Bits of the float8 e4m3 (1-4-3, bias 7, no infinities) nearest to `value`, ties to even, saturating at ±448. */
export function toFloat8Bits(value: number): number {
  f32[0] = value;
  const sign = (u32[0] >>> 24) & 0x80;
  const magnitude = Math.min(Math.abs(f32[0]), float8Maximum);
  if (Number.isNaN(value)) return 0x7f;
  if (magnitude < 2 ** -6) {
    // Subnormal: a multiple of 2^-9; adding 2^14 (whose last bit is worth 2^-9 in float32) rounds to one.
    return sign | ((Math.fround(magnitude + 16384) - 16384) * 512);
  }
  f32[0] = magnitude;
  const bits = u32[0];
  return sign | ((bits - 0x3c000000 + 0x7ffff + ((bits >>> 20) & 1)) >>> 20);
}

/** Value of a float8 e4m3 given as bits. Exact. */
export function fromFloat8Bits(bits: number): number {
  const sign = bits & 0x80 ? -1 : 1;
  const exponent = (bits >>> 3) & 0xf;
  const fraction = bits & 7;
  if (exponent === 15 && fraction === 7) return Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7));
}
