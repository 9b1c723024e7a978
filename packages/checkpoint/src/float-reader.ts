import { createRequire } from "node:module";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { elementCount, LayerfoldError } from "@layerfold/core";
import { fileError } from "@layerfold/disk";
import type { StoredTensor } from "./checkpoint.js";
import type { ReadAnswer, ReadRequest, StoredFloats } from "./float-reader-worker.js";

/** A tensor, or some of its rows (indices of its first axis). */
export interface FloatRange {
  readonly tensor: StoredTensor;
  /** Default 0. */
  readonly firstRow?: number | undefined;
  /** Default: all that follow. */
  readonly rows?: number | undefined;
}

/** Reads weights as float32 in a thread of its own, one request after another, while the caller does something else. */
export interface FloatReader {
  /** @throws DTYPE_UNSUPPORTED, SAFETENSORS_TRUNCATED, FILE_MISSING, FILE_DENIED */
  read(ranges: readonly FloatRange[]): Promise<Float32Array[]>;
  /**
   * Hands back arrays that nobody looks at any more: later reads use their memory, so that what is in memory does not depend on when
   * garbage is collected. They are empty from then on.
   */
  recycle(arrays: readonly Float32Array[]): void;
  close(): Promise<void>;
}

/** A reader, whose thread starts with the first request and keeps no process alive. */
export function floatReader(): FloatReader {
  const waiting = new Map<
    number,
    { resolve: (arrays: Float32Array[]) => void; reject: (error: unknown) => void }
  >();
  let count = 0;
  let worker: Worker | undefined;

  function fail(error: unknown): void {
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
    worker = undefined;
  }

  function started(): Worker {
    if (worker) return worker;
    worker = new Worker(workerFile());
    worker.on("message", (answer: ReadAnswer) => {
      const asked = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (waiting.size === 0) worker?.unref();
      if ("buffers" in answer) asked?.resolve(answer.buffers.map((buffer) => new Float32Array(buffer)));
      else asked?.reject(errorOf(answer));
    });
    worker.on("error", fail);
    return worker;
  }

  return {
    async read(ranges) {
      const parts = ranges.map(storedFloats);
      const running = started();
      running.ref();
      return new Promise((resolve, reject) => {
        const id = count++;
        waiting.set(id, { resolve, reject });
        running.postMessage({ id, parts } satisfies ReadRequest);
      });
    },
    recycle(arrays) {
      const spare = arrays
        .map(({ buffer }) => buffer as ArrayBuffer)
        .filter(({ byteLength }) => byteLength > 0);
      worker?.postMessage({ spare } satisfies ReadRequest, spare);
    },
    async close() {
      const running = worker;
      worker = undefined;
      if (!running) return;
      running.ref();
      running.postMessage({ close: true } satisfies ReadRequest);
      await new Promise((resolve) => running.once("exit", resolve));
      fail(new LayerfoldError("INTERRUPTED", "the weights' reader was closed", { fault: "interrupted" }));
    },
  };
}

function storedFloats({ tensor, firstRow = 0, rows }: FloatRange): StoredFloats {
  const { name, file, dtype, shape, byteOffset, byteLength } = tensor;
  if (!/^b?float(16|32|64)$/.test(dtype)) {
    throw new LayerfoldError("DTYPE_UNSUPPORTED", "cannot read this element type as numbers", {
      wanted: "float64, float32, float16 or bfloat16",
      got: dtype,
      where: `${file}, ${name}`,
    });
  }
  const total = elementCount(shape);
  const perRow = firstRow === 0 && rows === undefined ? total : total / shape[0];
  const rowBytes = shape.length === 0 ? byteLength : (byteLength / total) * perRow;
  return {
    file,
    dtype,
    byteOffset: byteOffset + firstRow * rowBytes,
    count: rows === undefined ? total - firstRow * perRow : rows * perRow,
  };
}

function errorOf({ file, failure, end }: Extract<ReadAnswer, { failure: unknown }>): unknown {
  if (end !== undefined) {
    return new LayerfoldError("SAFETENSORS_TRUNCATED", "the file ends too early", {
      got: `${end}`,
      where: file,
    });
  }
  return fileError(Object.assign(new Error(failure.message), { code: failure.code }), file);
}

/** In the built package, also where this file runs from its source: a thread runs JavaScript only. */
function workerFile(): string {
  return join(
    createRequire(import.meta.url).resolve("@layerfold/checkpoint"),
    "..",
    "float-reader-worker.js",
  );
}
