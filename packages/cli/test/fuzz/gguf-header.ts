/** A GGUF file's metadata as values, its tensors' names, types and sizes among them, and everything behind as bytes. */
export interface GgufHeader {
  readonly metadata: Record<string, unknown>;
  /** Number of each value's type; of a list's items too. */
  readonly types: ReadonlyMap<string, readonly [type: number, items?: number]>;
  readonly tensors: readonly unknown[];
  readonly data: Uint8Array;
}

const magic = 0x46554747;
const text = 8;
const list = 9;
/** Bytes of a value by the type's number. */
const widths: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
};

/** Reads version 3, well-formed. */
export function readGgufHeader(bytes: Uint8Array): GgufHeader {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 8;
  const u32 = () => buffer.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(buffer.readBigUInt64LE((at += 8) - 8));
  const string = () => {
    const length = u64();
    return buffer.toString("utf8", at, (at += length));
  };
  const value = (type: number): unknown => {
    if (type === text) return string();
    if (type === list) {
      const [inner, length] = [u32(), u64()];
      return Array.from({ length }, () => value(inner));
    }
    const start = (at += widths[type]) - widths[type];
    if (type === 6) return buffer.readFloatLE(start);
    if (type === 12) return buffer.readDoubleLE(start);
    if (type === 7) return buffer[start] !== 0;
    if (type === 10) return Number(buffer.readBigUInt64LE(start));
    if (type === 11) return Number(buffer.readBigInt64LE(start));
    return type % 2 === 0 ? buffer.readUIntLE(start, widths[type]) : buffer.readIntLE(start, widths[type]);
  };
  const [tensorCount, valueCount] = [u64(), u64()];
  const metadata: Record<string, unknown> = {};
  const types = new Map<string, readonly [type: number, items?: number]>();
  for (let i = 0; i < valueCount; i++) {
    const key = string();
    const type = u32();
    types.set(key, type === list ? [type, buffer.readUInt32LE(at)] : [type]);
    metadata[key] = value(type);
  }
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = string();
    const shape = Array.from({ length: u32() }, u64);
    return { name, shape, type: u32(), offset: u64() };
  });
  return { metadata, types, tensors, data: bytes.subarray(Math.ceil(at / 32) * 32) };
}

/** Writes whatever the values have become: a number in its type where it had one, else as the widest. */
export function writeGgufHeader(header: GgufHeader): Uint8Array {
  const parts: Buffer[] = [];
  const number = (value: number, type: number) => {
    const part = Buffer.alloc(widths[type]);
    if (type === 6) part.writeFloatLE(value);
    else if (type === 12) part.writeDoubleLE(value);
    else {
      const whole = BigInt.asUintN(64, Number.isFinite(value) ? BigInt(Math.trunc(value)) : -1n);
      for (let i = 0; i < part.length; i++) part[i] = Number((whole >> BigInt(8 * i)) & 255n);
    }
    parts.push(part);
  };
  // What is neither text nor number may be nested too deeply for either to be made of it.
  const string = (value: unknown) => {
    const bytes = Buffer.from(typeof value === "string" ? value : "{}");
    number(bytes.length, 10);
    parts.push(bytes);
  };
  const numeric = (value: unknown) =>
    typeof value === "number" || typeof value === "boolean" ? Number(value) : Number.NaN;
  const typeOf = (value: unknown): number => {
    if (Array.isArray(value)) return list;
    if (typeof value === "boolean") return 7;
    if (typeof value !== "number") return text;
    return Number.isInteger(value) ? 5 : 6;
  };
  /** A type in which a value can be written: the one that it had, if it still fits. */
  const fitting = (value: unknown, before: number | undefined): number => {
    const isNumber = typeof value === "number" || typeof value === "boolean";
    return before !== undefined && isNumber && before in widths ? before : typeOf(value);
  };
  const put = (value: unknown, type: number, items?: number): void => {
    if (type === text) string(value);
    else if (type === list) {
      const all = value as readonly unknown[];
      const types = new Set(all.map((item) => fitting(item, items)));
      const inner = types.size === 1 ? [...types][0] : (items ?? text);
      number(inner, 4);
      number(all.length, 10);
      for (const item of all) put(inner === list ? [] : item, inner);
    } else number(numeric(value), type);
  };
  const tensors = Array.isArray(header.tensors) ? header.tensors : [];
  const values = Object.entries(header.metadata ?? {});
  for (const word of [magic, 3]) number(word, 4);
  number(tensors.length, 10);
  number(values.length, 10);
  for (const [key, value] of values) {
    const [before, items] = header.types.get(key) ?? [];
    const type = fitting(value, before);
    string(key);
    number(type, 4);
    put(value, type, items);
  }
  for (const tensor of tensors) {
    const { name, shape, type, offset } = Object(tensor);
    const sizes = Array.isArray(shape) ? shape : [shape];
    string(name);
    number(sizes.length, 4);
    for (const size of sizes) number(numeric(size), 10);
    number(numeric(type), 4);
    number(numeric(offset), 10);
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([...parts, Buffer.alloc((32 - (length % 32)) % 32), header.data]);
}
