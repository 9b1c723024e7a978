import { closeSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { bytesPerElement, type DType, decodeFloatsInto } from "@layerfold/core";

/** Bytes that lie one after another in a file, and what they are. */
export interface StoredFloats {
  readonly file: string;
  readonly dtype: DType;
  readonly byteOffset: number;
  readonly count: number;
}

/** What the reader asks of its thread: to read, to keep memory for later reads, or to end. */
export type ReadRequest =
  | { readonly id: number; readonly parts: readonly StoredFloats[] }
  | { readonly spare: readonly ArrayBuffer[] }
  | { readonly close: true };

export type ReadAnswer =
  | { readonly id: number; readonly buffers: readonly ArrayBuffer[] }
  | {
      readonly id: number;
      readonly file: string;
      readonly failure: { readonly message: string; readonly code?: string | undefined };
      /** Where the file ended, where that was too early. */
      readonly end?: number;
    };

/** Bytes that are read at once: they are still in the processor's cache when they are decoded. */
const chunkBytes = 2 ** 20;

const port = parentPort;
if (!port) throw new Error("runs as a thread only");
const descriptors = new Map<string, number>();
const staging = new Uint8Array(chunkBytes);
/** Memory of arrays that nobody needs any more, by size. */
const spares = new Map<number, ArrayBuffer[]>();

class FileEnd extends Error {
  readonly end: number;

  constructor(end: number) {
    super("the file ends too early");
    this.end = end;
  }
}

function fill(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(bytes.length - done, 2 ** 30);
    const read = readSync(descriptor, bytes, done, length, position + done);
    if (read === 0) throw new FileEnd(position + done);
    done += read;
  }
}

/** Blocks of one form follow one another: where their memory does not fit, something else is read now, and it is let go. */
function fresh(bytes: number): ArrayBuffer {
  spares.clear();
  return new ArrayBuffer(bytes);
}

function readPart({ file, dtype, byteOffset, count }: StoredFloats): ArrayBuffer {
  let descriptor = descriptors.get(file);
  if (descriptor === undefined) {
    descriptor = openSync(file, "r");
    descriptors.set(file, descriptor);
  }
  const buffer = spares.get(4 * count)?.pop() ?? fresh(4 * count);
  if (dtype === "float32") {
    fill(descriptor, new Uint8Array(buffer), byteOffset);
    return buffer;
  }
  const size = bytesPerElement(dtype);
  const values = chunkBytes / size;
  for (let first = 0; first < count; first += values) {
    const length = Math.min(values, count - first);
    const bytes = staging.subarray(0, length * size);
    fill(descriptor, bytes, byteOffset + first * size);
    decodeFloatsInto(bytes, dtype, new Float32Array(buffer, 4 * first, length));
  }
  return buffer;
}

port.on("message", (request: ReadRequest) => {
  if ("close" in request) {
    for (const descriptor of descriptors.values()) closeSync(descriptor);
    port.close();
    return;
  }
  if ("spare" in request) {
    for (const buffer of request.spare) {
      const known = spares.get(buffer.byteLength) ?? [];
      known.push(buffer);
      spares.set(buffer.byteLength, known);
    }
    return;
  }
  const { id, parts } = request;
  let file = "";
  try {
    const buffers = parts.map((part) => {
      file = part.file;
      return readPart(part);
    });
    const answer: ReadAnswer = { id, buffers };
    port.postMessage(answer, buffers);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    const answer: ReadAnswer = {
      id,
      file,
      failure: { message, code },
      ...(error instanceof FileEnd && { end: error.end }),
    };
    port.postMessage(answer);
  }
});
