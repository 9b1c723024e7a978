import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  contiguousData,
  elementCount,
  isContiguous,
  matrixSize,
  rowMajorStride,
  submatrix,
  tensor,
  zeros,
} from "./tensor.js";

const shapes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 });

describe("tensor", () => {
  it("lays a shape out row-major", () => {
    expect(rowMajorStride([2, 3, 4])).toEqual([12, 4, 1]);
    expect(tensor(new Float32Array(6), [2, 3]).get(1, 2)).toBe(0);
    expect(elementCount([])).toBe(1);
  });

  it("refuses data too short for its shape", () => {
    expect(() => tensor(new Float32Array(5), [2, 3])).toThrow(
      expect.objectContaining({ code: "TENSOR_SHAPE" }),
    );
    expect(() => tensor(new Float32Array(6), [2, 3], [3, 1], 1)).toThrow(
      expect.objectContaining({ code: "TENSOR_SHAPE" }),
    );
  });

  it("makes any strided view contiguous with the values in place", () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 0, max: 3 }), fc.boolean(), (shape, pad, reverse) => {
        // A view into a larger array: each axis padded, the axes optionally in reverse order.
        const padded = shape.map((n) => n + pad);
        const data = Float64Array.from({ length: elementCount(padded) }, (_, i) => i);
        const order = shape.map((_, i) => (reverse ? shape.length - 1 - i : i));
        const stride = rowMajorStride(padded);
        const view = tensor(
          data,
          order.map((i) => shape[i]),
          order.map((i) => stride[i]),
          0,
        );
        const flat = contiguousData(view);
        const out = tensor(flat, view.shape);
        expect(flat.length).toBe(elementCount(shape));
        const index = view.shape.map(() => 0);
        for (let i = 0; i < flat.length; i++) {
          expect(out.get(...index)).toBe(view.get(...index));
          for (let axis = index.length - 1; axis >= 0; axis--) {
            if (++index[axis] < view.shape[axis]) break;
            index[axis] = 0;
          }
        }
      }),
    );
  });

  it("shows rows and columns of a matrix without a copy", () => {
    const whole = tensor(
      Float32Array.from({ length: 12 }, (_, i) => i),
      [3, 4],
    );
    const inner = submatrix(whole, 1, 2, 2, 1);
    expect([...contiguousData(inner)]).toEqual([6, 10]);
    // Of a transposed view too, and to the end where no sizes are given.
    const rest = submatrix(submatrix(whole, 0, 1).transpose(1, 0), 1, 1);
    expect(rest.shape).toEqual([2, 2]);
    expect([...contiguousData(rest)]).toEqual([6, 10, 7, 11]);
    expect(rest.data).toBe(whole.data);
    expect(() => submatrix(whole, 1, 2, 3, 1)).toThrow(expect.objectContaining({ code: "TENSOR_SHAPE" }));
  });

  it("does not copy what is contiguous already", () => {
    const data = new Float32Array(10);
    const view = tensor(data, [2, 3], [3, 1], 2);
    expect(isContiguous(view)).toBe(true);
    expect(contiguousData(view).buffer).toBe(data.buffer);
    expect(isContiguous(view.transpose(1, 0))).toBe(false);
  });

  it("makes zeros of either dtype", () => {
    expect(zeros([2, 2]).data).toEqual(new Float32Array(4));
    expect(zeros([2, 2], "float64").data).toEqual(new Float64Array(4));
  });
});

it("takes a matrix's size, and nothing else's", () => {
  expect(matrixSize(zeros([2, 3]), "points")).toEqual({ rows: 2, columns: 3 });
  for (const shape of [[6], [1, 2, 3]]) {
    expect(() => matrixSize(zeros(shape), "points")).toThrow(/points must have two axes.*got \[/);
  }
});
