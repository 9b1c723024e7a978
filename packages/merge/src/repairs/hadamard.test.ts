import { describe, expect, it } from "vitest";
import { hadamard } from "./hadamard.js";

describe("hadamard", () => {
  it.each([1, 2, 4, 12, 20, 24, 32, 48, 72, 576, 896])("%i: orthogonal, of entries of one size", (size) => {
    const { data } = hadamard(size);
    expect(data.every((x) => Math.abs(Math.abs(x) - 1 / Math.sqrt(size)) < 1e-15)).toBe(true);
    for (const [i, j] of [
      [0, 0],
      [0, size - 1],
      [size >> 1, size >> 1],
      [size >> 1, size - 1],
      [size >> 2, size >> 1],
    ]) {
      let dot = 0;
      for (let k = 0; k < size; k++) dot += data[i * size + k] * data[j * size + k];
      expect(dot).toBeCloseTo(Number(i === j), 12);
    }
  });

  it("says which sizes it does not know", () => {
    expect(() => hadamard(28)).toThrow(expect.objectContaining({ code: "HADAMARD_SIZE" }));
  });
});
