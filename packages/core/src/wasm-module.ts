/** A function of a WebAssembly module: its parameters' and result's types, further locals, and its instructions as bytes. */
export interface WasmFunction {
  readonly name: string;
  readonly parameters: readonly number[];
  readonly results: readonly number[];
  readonly locals: readonly number[];
  readonly body: readonly number[];
}

/** Value types (WebAssembly core specification 2.0, 5.3). */
export const wasmTypes = { i32: 0x7f, f64: 0x7c, v128: 0x7b } as const;

/** Unsigned LEB128, which every count and index of the format is written in. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}

/** Signed LEB128, in which constants are written. */
function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    if (rest >= -64 && rest < 64) return [...bytes, rest & 127];
    bytes.push((rest & 127) | 128);
  }
}

const vector = (items: readonly (readonly number[])[]) => [...unsigned(items.length), ...items.flat()];
const named = (name: string) => vector([...name].map((letter) => [letter.charCodeAt(0)]));
const section = (id: number, bytes: readonly number[]) => [id, ...unsigned(bytes.length), ...bytes];
const simd = (opcode: number, ...immediates: number[]) => [0xfd, ...unsigned(opcode), ...immediates];
/** Alignment (a hint: none) and offset. */
const at = (offset: number) => [0, ...unsigned(offset)];

/** The instructions that kernels over arrays need, under the specification's names (5.4). */
export const wasm = {
  get: (local: number) => [0x20, ...unsigned(local)],
  set: (local: number) => [0x21, ...unsigned(local)],
  tee: (local: number) => [0x22, ...unsigned(local)],
  i32: (value: number) => [0x41, ...signed(value)],
  i32Add: [0x6a],
  i32LtU: [0x49],
  /** Runs its instructions again while they leave a number other than 0. */
  doWhile: (...body: readonly (readonly number[])[]) => [0x03, 0x40, ...body.flat(), 0x0d, 0, 0x0b],
  load: (offset = 0) => simd(0, ...at(offset)),
  store: (offset = 0) => simd(11, ...at(offset)),
  /** Four times the same 32 bits. */
  constI32x4: (bits: number) => simd(12, ...new Uint8Array(new Uint32Array(4).fill(bits).buffer)),
  shuffle: (...lanes: readonly number[]) => simd(13, ...lanes),
  f64x2Splat: simd(20),
  i32x4ExtractLane0: simd(27, 0),
  i32x4LtU: simd(58),
  i32x4GeU: simd(64),
  and: simd(78),
  or: simd(80),
  bitselect: simd(82),
  f32x4DemoteF64x2Zero: simd(94),
  f64x2PromoteLowF32x4: simd(95),
  i16x8NarrowI32x4U: simd(134),
  i32x4ExtendLowI16x8U: simd(169),
  i32x4ExtendHighI16x8U: simd(170),
  i32x4Shl: simd(171),
  i32x4ShrU: simd(173),
  i32x4Add: simd(174),
  i32x4Sub: simd(177),
  i32x4MaxU: simd(185),
  f32x4Add: simd(228),
  f32x4Mul: simd(230),
  f64x2Add: simd(240),
  f64x2Mul: simd(242),
} as const;

/** A module that exports these functions, over the memory "env" "memory" (5.5). */
export function wasmModule(functions: readonly WasmFunction[]): Uint8Array<ArrayBuffer> {
  const each = (write: (f: WasmFunction, index: number) => readonly number[]) => vector(functions.map(write));
  const types = (list: readonly number[]) => vector(list.map((type) => [type]));
  const code = ({ locals, body }: WasmFunction) => {
    const bytes = [...vector(locals.map((type) => [1, type])), ...body, 0x0b];
    return [...unsigned(bytes.length), ...bytes];
  };
  const magicAndVersion = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return Uint8Array.from([
    ...magicAndVersion,
    ...section(
      1,
      each(({ parameters, results }) => [0x60, ...types(parameters), ...types(results)]),
    ),
    ...section(2, vector([[...named("env"), ...named("memory"), 0x02, 0x00, 1]])),
    ...section(
      3,
      each((_, index) => unsigned(index)),
    ),
    ...section(
      7,
      each(({ name }, index) => [...named(name), 0x00, ...unsigned(index)]),
    ),
    ...section(10, each(code)),
  ]);
}
