import { type BlockView, contiguousData, type Matrix, type Tensor, tensor } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { describe, expect, it } from "vitest";
import { rescaled, scaleGroups } from "./scale-group.js";

const rng = seededRng(5);
const random = (...shape: number[]) =>
  tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => rng.normal()),
    shape,
  );

/** A Llama block's linear maps and norms: 8 wide, MLP 12 wide. */
function block(keyValueWidth: number): BlockView {
  return {
    layer: 0,
    type: "test",
    tensors: new Map<string, Tensor>([
      ["norm.attention", random(8)],
      ["attention.query", random(8, 8)],
      ["attention.key", random(keyValueWidth, 8)],
      ["attention.value", random(keyValueWidth, 8)],
      ["attention.value.bias", random(keyValueWidth)],
      ["attention.output", random(8, 8)],
      ["norm.mlp", random(8)],
      ["mlp.gate", random(12, 8)],
      ["mlp.up", random(12, 8)],
      ["mlp.down", random(8, 12)],
    ]),
  };
}

const values = (view: BlockView, role: string) => contiguousData(view.tensors.get(role) as Tensor);
const apply = (weight: Tensor, x: ArrayLike<number>) =>
  Array.from({ length: weight.shape[0] }, (_, row) => {
    let sum = 0;
    for (let j = 0; j < weight.shape[1]; j++)
      sum += (weight as Matrix).data[row * weight.shape[1] + j] * x[j];
    return sum;
  });

describe("scaleGroups", () => {
  it("finds norms, up to down, and value to output where every query head has its own value", () => {
    const sources = (view: BlockView) =>
      scaleGroups(view).map(({ source, consumers }) => [source, ...consumers]);
    const shared = [
      ["norm.attention", "attention.query", "attention.key", "attention.value"],
      ["norm.mlp", "mlp.gate", "mlp.up"],
    ];
    expect(sources(block(8))).toEqual([
      ...shared,
      ["attention.value", "attention.output"],
      ["mlp.up", "mlp.down"],
    ]);
    expect(sources(block(4))).toEqual([...shared, ["mlp.up", "mlp.down"]]);
  });

  it("takes the MLP along where one norm feeds both branches", () => {
    const parallel = block(4);
    (parallel.tensors as Map<string, Tensor>).delete("norm.mlp");
    expect(scaleGroups(parallel)[0].consumers).toEqual([
      "attention.query",
      "attention.key",
      "attention.value",
      "mlp.gate",
      "mlp.up",
    ]);
  });
});

describe("rescaled", () => {
  it("keeps what the block computes", () => {
    const before = block(8);
    let after = before;
    for (const group of scaleGroups(before)) {
      after = rescaled(
        after,
        group,
        Float64Array.from({ length: group.width }, () => Math.exp(rng.normal())),
      );
    }
    const normed = (view: BlockView, role: string, x: Float32Array) =>
      x.map((v, j) => v * values(view, role)[j]);
    const x = values({ ...before, tensors: new Map([["x", random(8)]]) }, "x") as Float32Array;
    const weight = (view: BlockView, role: string) => view.tensors.get(role) as Tensor;
    const outputs = (view: BlockView) => {
      const attention = normed(view, "norm.attention", x);
      const value = apply(weight(view, "attention.value"), attention).map(
        (v, j) => v + values(view, "attention.value.bias")[j],
      );
      const mlp = normed(view, "norm.mlp", x);
      const gate = apply(weight(view, "mlp.gate"), mlp).map((v) => v / (1 + Math.exp(-v)));
      const up = apply(weight(view, "mlp.up"), mlp);
      return [
        ...apply(weight(view, "attention.query"), attention),
        ...apply(weight(view, "attention.output"), value),
        ...apply(
          weight(view, "mlp.down"),
          up.map((v, j) => v * gate[j]),
        ),
      ];
    };
    const wanted = outputs(before);
    // Float32 weights, sums of at most 12 terms of size 10.
    outputs(after).forEach((value, i) => {
      expect(Math.abs(value - wanted[i])).toBeLessThan(2e-4);
    });
    expect(values(after, "mlp.up")).not.toEqual(values(before, "mlp.up"));
  });
});
