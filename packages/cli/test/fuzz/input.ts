import { extname } from "node:path";
import fc from "fast-check";
import { type ByteMutation, byteMutation, mutateBytes } from "./byte-mutation.js";
import { readGgufHeader, writeGgufHeader } from "./gguf-header.js";
import { type JsonMutation, jsonMutation, mutateJson } from "./json-mutation.js";

/** A folder's files by name. */
export type Files = ReadonlyMap<string, Uint8Array>;

/** What is done to one of several well-formed folders. */
export interface Input {
  /** Which folder; this and `file` are taken modulo what there is. */
  readonly start: number;
  readonly changes: readonly Change[];
}

/** Changes of one file: of its values, where it holds JSON and they are asked for, else of its bytes. */
export interface Change {
  readonly file: number;
  readonly of: "values" | "bytes";
  /** Of a file that holds JSON line by line: which line. */
  readonly line: number;
  readonly values: readonly JsonMutation[];
  readonly bytes: readonly ByteMutation[];
}

const change: fc.Arbitrary<Change> = fc.record({
  file: fc.nat(1_000),
  of: fc.oneof(
    { weight: 3, arbitrary: fc.constant("values" as const) },
    { weight: 1, arbitrary: fc.constant("bytes" as const) },
  ),
  line: fc.nat(1_000),
  values: fc.array(jsonMutation, { minLength: 1, maxLength: 3 }),
  bytes: fc.array(byteMutation, { minLength: 1, maxLength: 3 }),
});

export const input: fc.Arbitrary<Input> = fc.record({
  start: fc.nat(1_000),
  changes: fc.oneof(
    { weight: 4, arbitrary: fc.tuple(change) },
    { weight: 1, arbitrary: fc.array(change, { minLength: 2, maxLength: 3 }) },
  ),
});

/** The changed files alone. */
export function changedFiles(start: Files, changes: readonly Change[], changing: readonly string[]): Files {
  const changed = new Map<string, Uint8Array>();
  for (const change of changes) {
    const name = changing[change.file % changing.length];
    const before = changed.get(name);
    // Values of a file whose bytes were changed can be read no more.
    const of = before ? "bytes" : change.of;
    changed.set(name, mutated(name, before ?? start.get(name)!, { ...change, of }));
  }
  return changed;
}

function mutated(name: string, original: Uint8Array, { of, values, bytes, line }: Change): Uint8Array {
  const text = () => Buffer.from(original).toString("utf8");
  if (of === "bytes") return mutateBytes(original, bytes);
  switch (extname(name)) {
    case ".json":
    // JSON is YAML too; other YAML is called .yml here, and has bytes alone.
    case ".yaml":
      return Buffer.from(mutateJson(text(), values));
    case ".jsonl": {
      const lines = text().trimEnd().split("\n");
      lines[line % lines.length] = mutateJson(lines[line % lines.length], values);
      return Buffer.from(`${lines.join("\n")}\n`);
    }
    case ".safetensors":
      return withHeader(original, values);
    case ".gguf": {
      const header = readGgufHeader(original);
      const { metadata, tensors } = header;
      const changed = JSON.parse(mutateJson(JSON.stringify({ metadata, tensors }), values));
      return writeGgufHeader({ ...header, ...Object(changed) });
    }
    default:
      return mutateBytes(original, bytes);
  }
}

/** A safetensors file whose header says something else, with its length put right. */
function withHeader(original: Uint8Array, values: readonly JsonMutation[]): Uint8Array {
  const end = 8 + Number(Buffer.from(original).readBigUInt64LE(0));
  const header = Buffer.from(mutateJson(Buffer.from(original.subarray(8, end)).toString("utf8"), values));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, original.subarray(end)]);
}
