import {
  contiguousData,
  type Floats,
  LayerfoldError,
  type MatmulEngine,
  type MatmulOptions,
  type Matrix,
  matrixSize,
  tensor,
} from "@layerfold/core";
import { graphBuilder } from "./graph-builder.js";
import { type OnnxTensor, openSession, type Session } from "./session.js";

export interface OnnxEngineOptions {
  /** Threads of one product; default: the physical cores. */
  readonly threads?: number | undefined;
}

/** A matrix engine that holds native memory until closed. */
export interface OnnxEngine extends MatmulEngine {
  close(): Promise<void>;
}

/**
 * Matrix products by ONNX Runtime's GEMM on all cores, float32 or float64, over a hundred times faster than plain JavaScript.
 * Row-major matrices and their transposed views are handed over as they lie; other strides are copied first.
 *
 * @example
 * ```ts
 * const engine = onnxEngine();
 * const a = tensor(new Float64Array([1, 2, 3, 4]), [2, 2]);
 * const gram = await engine.matmul(a, a, { transposeA: true });
 * assert(gram.data[1] === 14); // 1·2 + 3·4
 * await engine.close();
 * ```
 */
export function onnxEngine(options: OnnxEngineOptions = {}): OnnxEngine {
  // One session per dtype and transposition; a rejected one is forgotten, so that the next call tries again.
  const sessions = new Map<string, Promise<Session>>();

  function sessionFor(dtype: "float32" | "float64", transA: number, transB: number): Promise<Session> {
    const key = `${dtype} ${transA} ${transB}`;
    let session = sessions.get(key);
    if (!session) {
      const graph = graphBuilder();
      const a = graph.input("a", dtype, transA ? ["k", "m"] : ["m", "k"]);
      const b = graph.input("b", dtype, transB ? ["n", "k"] : ["k", "n"]);
      // FusedMatMul is the faster of the two, and knows float32 only.
      const contrib = dtype === "float32";
      const operator = contrib ? "FusedMatMul" : "Gemm";
      graph.output("c", graph.node(operator, [a, b], { contrib, ints: { transA, transB } }), dtype, [
        "m",
        "n",
      ]);
      session = openSession(graph.build(), { threads: options.threads, arena: false });
      session.catch(() => sessions.delete(key));
      sessions.set(key, session);
    }
    return session;
  }

  return {
    id: "onnx",
    async matmul<M extends Matrix>(first: M, second: M, { transposeA, transposeB }: MatmulOptions = {}) {
      const dtype = dtypeOf(first);
      if (dtype !== dtypeOf(second)) {
        throw new LayerfoldError("ENGINE_DTYPE", "both matrices must have one dtype", {
          wanted: dtype,
          got: dtypeOf(second),
        });
      }
      const a = operand(first, transposeA, "the first matrix");
      const b = operand(second, transposeB, "the second matrix");
      if (a.columns !== b.rows) {
        throw new LayerfoldError("TENSOR_SHAPE", "inner sizes of the product differ", {
          wanted: `${a.columns}`,
          got: `${b.rows}`,
        });
      }
      const shape = [a.rows, b.columns];
      if (a.rows * b.columns * a.columns === 0) {
        const count = a.rows * b.columns;
        return tensor(
          dtype === "float64" ? new Float64Array(count) : new Float32Array(count),
          shape,
        ) as Matrix as M;
      }
      const session = await sessionFor(dtype, a.transposed ? 1 : 0, b.transposed ? 1 : 0);
      const { c } = await session.run({ a: a.stored, b: b.stored }, ["c"]);
      return tensor(c.data as Floats, shape) as Matrix as M;
    },
    async close() {
      const open = [...sessions.values()];
      sessions.clear();
      await Promise.all(open.map(async (session) => (await session).close()));
    },
  };
}

function dtypeOf(matrix: Matrix): "float32" | "float64" {
  return matrix.data instanceof Float64Array ? "float64" : "float32";
}

/** One operand: its size after transposition, and how it is stored. */
function operand(matrix: Matrix, transpose = false, what: string) {
  const { rows, columns } = matrixSize(matrix, what);
  // The transpose of a row-major matrix is handed over as that matrix.
  const flipped = matrix.stride[0] === 1 && matrix.stride[1] === rows && rows > 1 && columns > 1;
  const stored = flipped ? { ...matrix, shape: [columns, rows], stride: [rows, 1] } : matrix;
  return {
    rows: transpose ? columns : rows,
    columns: transpose ? rows : columns,
    transposed: transpose !== flipped,
    stored: { dtype: dtypeOf(matrix), data: contiguousData(stored), shape: stored.shape } as OnnxTensor,
  };
}
