import fc from "fast-check";
import { hostileNames } from "./json-mutation.js";

/** One change of bytes. Places are numbers that are taken modulo the length. */
export type ByteMutation =
  | { readonly op: "flip"; readonly at: number; readonly bit: number }
  | { readonly op: "write"; readonly at: number; readonly bytes: readonly number[] }
  | { readonly op: "insert"; readonly at: number; readonly bytes: readonly number[] }
  | { readonly op: "cut"; readonly at: number; readonly length: number }
  | { readonly op: "truncate"; readonly at: number }
  | { readonly op: "copy"; readonly at: number; readonly from: number; readonly length: number };

/** Little-endian. */
function integer(value: bigint, width: 1 | 2 | 4 | 8): number[] {
  return Array.from({ length: width }, (_, i) => Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 255n));
}

const lengths = [
  ...[0n, 1n, 2n, 255n, 65535n, -1n, -2n, 2n ** 20n].flatMap((n) => [integer(n, 4), integer(n, 8)]),
  ...[31n, 32n, 40n, 53n, 63n].map((bits) => integer(2n ** bits, 8)),
  ...[30n, 31n].map((bits) => integer(2n ** bits, 4)),
];
const others = [
  // NaN and both infinities in float32, float16 and bfloat16.
  [0, 0, 0xc0, 0x7f],
  [0, 0, 0x80, 0x7f],
  [0, 0, 0x80, 0xff],
  [0, 0x7e],
  [0, 0x7c],
  [0x80, 0x7f],
  // The longest varint, and one that never ends.
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  Array<number>(16).fill(0xff),
  // Byte order marks, gzip, a lone half of UTF-8, nothing.
  [0xef, 0xbb, 0xbf],
  [0xff, 0xfe],
  [0x1f, 0x8b, 8, 0],
  [0xc3],
  [0],
  Array<number>(64).fill(0),
];
const texts = [
  ...hostileNames,
  "\r\n",
  '"',
  "{",
  "}",
  "[",
  ",",
  ":",
  "{%",
  "%}",
  "{{",
  "}}",
  "&a",
  "*a",
  "!!js",
  "\t",
];

const bytes = fc.oneof(
  fc.constantFrom(...lengths),
  fc.constantFrom(...others),
  fc.constantFrom(...texts.map((text) => [...Buffer.from(text)])),
  fc.uint8Array({ minLength: 1, maxLength: 8 }).map((array) => [...array]),
);
// The beginning of a file decides most.
const at = fc.oneof(fc.nat(64), fc.nat(2_000), fc.nat(100_000_000));
const length = fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 10_000 }));

export const byteMutation: fc.Arbitrary<ByteMutation> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant("flip" as const), at, bit: fc.nat(7) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("write" as const), at, bytes }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant("insert" as const), at, bytes }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("cut" as const), at, length }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("truncate" as const), at }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("copy" as const), at, from: at, length }) },
);

export function mutateBytes(original: Uint8Array, mutations: readonly ByteMutation[]): Uint8Array {
  let data = Buffer.from(original);
  for (const mutation of mutations) {
    const start = mutation.at % Math.max(1, data.length);
    const before = data.subarray(0, start);
    switch (mutation.op) {
      case "flip":
        if (data.length > 0) data[start] ^= 1 << mutation.bit;
        break;
      case "write":
        mutation.bytes.forEach((byte, i) => {
          if (start + i < data.length) data[start + i] = byte;
        });
        break;
      case "insert":
        data = Buffer.concat([before, Uint8Array.from(mutation.bytes), data.subarray(start)]);
        break;
      case "cut":
        data = Buffer.concat([before, data.subarray(start + mutation.length)]);
        break;
      case "truncate":
        data = Buffer.from(before);
        break;
      case "copy": {
        const from = mutation.from % Math.max(1, data.length);
        const part = data.subarray(from, from + mutation.length);
        data = Buffer.concat([before, part, data.subarray(start)]);
        break;
      }
    }
  }
  return data;
}
