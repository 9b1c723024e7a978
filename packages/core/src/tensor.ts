import ndarray from "ndarray";
import { LayerfoldError } from "./error.js";

/** What a numeric tensor stores. */
export type Floats = Float32Array | Float64Array;

/**
 * A strided array of numbers, structurally an `ndarray`: element (i, j, …) lies at
 * `data[offset + i·stride[0] + j·stride[1] + …]`. Anything of this shape is accepted everywhere.
 */
export interface Tensor<D extends Floats = Floats> {
  readonly data: D;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  readonly offset: number;
}

/** A tensor with two axes, [rows, columns]; in statistics rows are samples and columns are features. */
export type Matrix<D extends Floats = Floats> = Tensor<D>;

/** Row-major strides of a shape. */
export function rowMajorStride(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length);
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    stride[axis] = step;
    step *= shape[axis];
  }
  return stride;
}

/** Number of elements of a shape; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/**
 * An `ndarray` over `data` (not copied), with `get`, `set`, `pick`, `transpose` and the rest of scijs.
 *
 * @param data - at least as many values as the shape asks for
 * @param shape - lengths of the axes; default one axis of `data.length`
 * @param stride - steps in elements; default row-major
 * @param offset - index of the first element; default 0
 * @throws TENSOR_SHAPE when the data cannot hold the shape
 *
 * @example
 * ```ts
 * const m = tensor(new Float32Array([1, 2, 3, 4, 5, 6]), [2, 3]);
 * assert(m.get(1, 0) === 4);
 * assert(m.transpose(1, 0).get(0, 1) === 4);
 * ```
 */
export function tensor<D extends Floats>(
  data: D,
  shape: readonly number[] = [data.length],
  stride: readonly number[] = rowMajorStride(shape),
  offset = 0,
): ndarray.NdArray<D> & Tensor<D> {
  const count = elementCount(shape);
  const last = count === 0 ? -1 : shape.reduce((at, n, axis) => at + (n - 1) * stride[axis], offset);
  if (last >= data.length) {
    throw new LayerfoldError("TENSOR_SHAPE", "the data is too short for the shape", {
      wanted: `${last + 1} values for [${shape.join(", ")}]`,
      got: `${data.length}`,
    });
  }
  return ndarray(data, [...shape], [...stride], offset) as ndarray.NdArray<D> & Tensor<D>;
}

/** A new matrix [rows, columns] of zeros. */
export function zeros<T extends "float32" | "float64" = "float32">(
  shape: readonly number[],
  dtype?: T,
): Tensor<T extends "float64" ? Float64Array : Float32Array> {
  const count = elementCount(shape);
  const data = dtype === "float64" ? new Float64Array(count) : new Float32Array(count);
  return tensor(data, shape) as unknown as Tensor<T extends "float64" ? Float64Array : Float32Array>;
}

/** A view of `rows` rows from `row` on and `columns` columns from `column` on; default all that follow. */
export function submatrix<D extends Floats>(
  { data, shape, stride, offset }: Matrix<D>,
  row: number,
  column: number,
  rows = shape[0] - row,
  columns = shape[1] - column,
): ndarray.NdArray<D> & Matrix<D> {
  return tensor(data, [rows, columns], stride, offset + row * stride[0] + column * stride[1]);
}

/** Whether the values lie row-major and without gaps. */
export function isContiguous(t: Tensor): boolean {
  const wanted = rowMajorStride(t.shape);
  return t.shape.every((length, axis) => length === 1 || t.stride[axis] === wanted[axis]);
}

/**
 * The tensor's values row-major, as one array of exactly `elementCount(shape)` values: a view where they already lie so, else a copy.
 */
export function contiguousData<D extends Floats>(t: Tensor<D>): D {
  const count = elementCount(t.shape);
  if (isContiguous(t)) return t.data.subarray(t.offset, t.offset + count) as D;
  const out = (t.data instanceof Float64Array ? new Float64Array(count) : new Float32Array(count)) as D;
  const { shape, stride, data } = t;
  const rank = shape.length;
  const inner = shape[rank - 1];
  const step = stride[rank - 1];
  const index = new Array<number>(rank).fill(0);
  let at = t.offset;
  for (let to = 0; to < count; to += inner) {
    if (step === 1) out.set(data.subarray(at, at + inner), to);
    else for (let j = 0, from = at; j < inner; j++, from += step) out[to + j] = data[from];
    for (let axis = rank - 2; axis >= 0; axis--) {
      at += stride[axis];
      if (++index[axis] < shape[axis]) break;
      at -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/**
 * Checks that `t` is a matrix and returns its size.
 * @throws TENSOR_SHAPE otherwise, naming `what`
 */
export function matrixSize(t: Tensor, what: string): { rows: number; columns: number } {
  if (t.shape.length !== 2) {
    throw new LayerfoldError("TENSOR_SHAPE", `${what} must have two axes`, {
      wanted: "[rows, columns]",
      got: `[${t.shape.join(", ")}]`,
    });
  }
  return { rows: t.shape[0], columns: t.shape[1] };
}
