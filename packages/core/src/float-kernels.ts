import { type WasmFunction, wasm as w, wasmModule, wasmTypes } from "./wasm-module.js";

// What TypeScript's library knows of browsers only.
declare const WebAssembly: {
  Memory: new (limits: { initial: number }) => { readonly buffer: ArrayBuffer };
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (module: object, imports: object) => { readonly exports: object };
};

/** Values that the kernels work on at a time: all of a tile's stages stay in the processor's caches. */
export const tileSize = 8192;

// Where a tile's stages lie in the kernels' memory, in bytes.
const floatsAt = 0;
const halvesAt = 4 * tileSize;
const sumsAt = 8 * tileSize;
const pages = (16 * tileSize) / 65_536;

/**
 * Conversion and addition of whole tiles: WebAssembly, since its SIMD instructions take 4 values at a time, and JavaScript's loops one (a mean of
 * two bfloat16 arrays is 4 times as fast). Each works on the first `count` values of its stages and on up to 7 behind them.
 */
export interface FloatKernels {
  /** The stages' memory, as bytes, [tileSize] float32, [tileSize] halves or bfloat16, and [tileSize] float64. */
  readonly floats: Float32Array;
  readonly floatBytes: Uint8Array;
  readonly halfBytes: Uint8Array;
  readonly sums: Float64Array;
  /** halves → floats, exactly. */
  decodeBfloat16(count: number): void;
  decodeFloat16(count: number): void;
  /** floats → halves, to nearest, ties to even; not for NaN. Returns the largest |float32| as bits. */
  encodeBfloat16(count: number): number;
  encodeFloat16(count: number): number;
  /** sums = factor · floats. Returns the largest |float32| as bits. */
  scale(count: number, factor: number): number;
  /** The largest |float32| as bits; the sums are lost. */
  largest(count: number): number;
  /** sums += factor · floats. Returns the largest |float32| as bits. */
  accumulate(count: number, factor: number): number;
  /** sums → floats, to nearest, ties to even. */
  round(count: number): void;
}

let kernels: FloatKernels | undefined;

export function floatKernels(): FloatKernels {
  return (kernels ??= instantiate());
}

function instantiate(): FloatKernels {
  const memory = new WebAssembly.Memory({ initial: pages });
  const module = new WebAssembly.Module(
    wasmModule([
      decode("decodeBfloat16", bfloat16ToFloat32),
      decode("decodeFloat16", float16ToFloat32),
      encode("encodeBfloat16", float32ToBfloat16),
      encode("encodeFloat16", float32ToFloat16),
      sum("scale", false),
      sum("accumulate", true),
      round(),
    ]),
  );
  type Run = (from: number, to: number, end: number, factor?: number) => number;
  const run = new WebAssembly.Instance(module, { env: { memory } }).exports as Record<
    keyof FloatKernels,
    Run
  >;
  const { buffer } = memory;
  return {
    floats: new Float32Array(buffer, floatsAt, tileSize),
    floatBytes: new Uint8Array(buffer, floatsAt, 4 * tileSize),
    halfBytes: new Uint8Array(buffer, halvesAt, 2 * tileSize),
    sums: new Float64Array(buffer, sumsAt, tileSize),
    decodeBfloat16: (count) => run.decodeBfloat16(halvesAt, floatsAt, floatsAt + 4 * count),
    decodeFloat16: (count) => run.decodeFloat16(halvesAt, floatsAt, floatsAt + 4 * count),
    encodeBfloat16: (count) => run.encodeBfloat16(floatsAt, halvesAt, halvesAt + 2 * count),
    encodeFloat16: (count) => run.encodeFloat16(floatsAt, halvesAt, halvesAt + 2 * count),
    scale: (count, factor) => run.scale(floatsAt, sumsAt, sumsAt + 8 * count, factor),
    largest: (count) => run.scale(floatsAt, sumsAt, sumsAt + 8 * count, 0),
    accumulate: (count, factor) => run.accumulate(floatsAt, sumsAt, sumsAt + 8 * count, factor),
    round: (count) => run.round(sumsAt, floatsAt, floatsAt + 4 * count),
  };
}

const { i32, f64, v128 } = wasmTypes;
// Parameters of every kernel: where it reads, where it writes, where it ends to write; then its own locals.
const [from, to, end] = [0, 1, 2];

const highHalf = w.shuffle(8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
const lowHalves = w.shuffle(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);

/** Eight values per turn, of so many bytes where they are read and where they are written. */
function eightByEight(readBytes: number, writtenBytes: number, ...step: readonly (readonly number[])[]) {
  return w.doWhile(
    ...step,
    ...[w.get(from), w.i32(8 * readBytes), w.i32Add, w.set(from)],
    ...[w.get(to), w.i32(8 * writtenBytes), w.i32Add, w.tee(to), w.get(end), w.i32LtU],
  );
}

/** @param convert - 16 bits in each of four lanes → float32 */
function decode(name: string, convert: (x: number) => readonly (readonly number[])[]): WasmFunction {
  const [bits, x] = [3, 4];
  return {
    name,
    parameters: [i32, i32, i32],
    results: [],
    locals: [v128, v128],
    body: eightByEight(
      ...[2, 4],
      ...[w.get(from), w.load(), w.set(bits)],
      ...[w.get(to), w.get(bits), w.i32x4ExtendLowI16x8U, w.set(x), ...convert(x), w.store()],
      ...[w.get(to), w.get(bits), w.i32x4ExtendHighI16x8U, w.set(x), ...convert(x), w.store(16)],
    ),
  };
}

function bfloat16ToFloat32(x: number) {
  return [w.get(x), w.i32(16), w.i32x4Shl];
}

/**
 * Exponent and mantissa in float32's places stand for 2^−112 of the value, subnormal or not. An exponent of all ones stays so.
 */
function float16ToFloat32(x: number) {
  const magnitude = [w.get(x), w.constI32x4(0x7fff), w.and];
  return [
    ...[...magnitude, w.i32(13), w.i32x4Shl, w.constI32x4((127 + 112) << 23), w.f32x4Mul],
    ...[...magnitude, w.constI32x4(0x7c00), w.i32x4GeU, w.constI32x4(0x7f800000), w.and, w.or],
    ...[w.get(x), w.constI32x4(0x8000), w.and, w.i32(16), w.i32x4Shl, w.or],
  ];
}

/** @param convert - float32 in each of four lanes → 16 bits; `magnitude` is the same without its sign */
function encode(
  name: string,
  convert: (x: number, magnitude: number) => readonly (readonly number[])[],
): WasmFunction {
  const [x, magnitude, largest] = [3, 4, 5];
  const four = (offset: number) => [
    ...[w.get(from), w.load(offset), w.tee(x), w.constI32x4(0x7fffffff), w.and, w.tee(magnitude)],
    ...[w.get(largest), w.i32x4MaxU, w.set(largest)],
    ...convert(x, magnitude),
  ];
  return {
    name,
    parameters: [i32, i32, i32],
    results: [i32],
    locals: [v128, v128, v128],
    body: [
      ...eightByEight(4, 2, w.get(to), ...four(0), ...four(16), w.i16x8NarrowI32x4U, w.store()),
      ...largestLane(largest, x),
    ],
  };
}

/** bits + 0x7fff + the last bit that stays, the rest cut off. */
function float32ToBfloat16(x: number) {
  const lastBit = [w.get(x), w.i32(16), w.i32x4ShrU, w.constI32x4(1), w.and];
  return [
    ...[w.get(x), w.constI32x4(0x7fff), w.i32x4Add, ...lastBit, w.i32x4Add],
    ...[w.i32(16), w.i32x4ShrU],
  ];
}

/** As `toFloat16Bits` has it. */
function float32ToFloat16(x: number, magnitude: number) {
  const lastBit = [w.get(magnitude), w.i32(13), w.i32x4ShrU, w.constI32x4(1), w.and];
  const half = w.constI32x4(0x3f000000);
  return [
    w.constI32x4(0x7c00),
    // Subnormal: 0.5 added lines the mantissa up with half's steps.
    ...[w.get(magnitude), half, w.f32x4Add, half, w.i32x4Sub],
    ...[w.get(magnitude), w.constI32x4(0x38000000), w.i32x4Sub, w.constI32x4(0xfff), w.i32x4Add],
    ...[...lastBit, w.i32x4Add, w.i32(13), w.i32x4ShrU],
    ...[w.get(magnitude), w.constI32x4(0x38800000), w.i32x4LtU, w.bitselect],
    ...[w.get(magnitude), w.constI32x4(0x477ff000), w.i32x4GeU, w.bitselect],
    ...[w.get(x), w.i32(16), w.i32x4ShrU, w.constI32x4(0x8000), w.and, w.or],
  ];
}

function sum(name: string, adds: boolean): WasmFunction {
  const [factor, factors, x, largest] = [3, 4, 5, 6];
  const two = (offset: number) => [
    ...[w.f64x2PromoteLowF32x4, w.get(factors), w.f64x2Mul],
    ...(adds ? [w.get(to), w.load(offset), w.f64x2Add] : []),
    w.store(offset),
  ];
  const four = (offset: number) => [
    ...[w.get(to), w.get(from), w.load(offset), w.tee(x), ...two(2 * offset)],
    ...[w.get(to), w.get(x), w.get(x), highHalf, ...two(2 * offset + 16)],
    ...[w.get(x), w.constI32x4(0x7fffffff), w.and, w.get(largest), w.i32x4MaxU, w.set(largest)],
  ];
  return {
    name,
    parameters: [i32, i32, i32, f64],
    results: [i32],
    locals: [v128, v128, v128],
    body: [
      ...[w.get(factor), w.f64x2Splat, w.set(factors)].flat(),
      ...eightByEight(4, 8, ...four(0), ...four(16)),
      ...largestLane(largest, x),
    ],
  };
}

function round(): WasmFunction {
  const four = (offset: number) => [
    ...[w.get(to), w.get(from), w.load(2 * offset), w.f32x4DemoteF64x2Zero],
    ...[w.get(from), w.load(2 * offset + 16), w.f32x4DemoteF64x2Zero, lowHalves, w.store(offset)],
  ];
  return {
    name: "round",
    parameters: [i32, i32, i32],
    results: [],
    locals: [],
    body: eightByEight(8, 4, ...four(0), ...four(16)),
  };
}

/** The largest of four lanes, by turning them twice. */
function largestLane(v: number, turned: number): number[] {
  const turn = (...lanes: readonly number[]) => [
    ...[w.get(v), w.get(v), w.shuffle(...lanes), w.set(turned)],
    ...[w.get(v), w.get(turned), w.i32x4MaxU, w.set(v)],
  ];
  return [
    ...turn(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7),
    ...turn(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11),
    ...[w.get(v), w.i32x4ExtractLane0],
  ].flat();
}
