import { expect, it } from "vitest";
import { tokenBatch } from "./batch.js";

it("pads rows on the right, to the longest of them", () => {
  const batch = tokenBatch([[5, 6], [7, 8, 9], Int32Array.of(4)], 1);
  expect(batch).toEqual({
    batchSize: 3,
    sequenceLength: 3,
    inputIds: Int32Array.of(5, 6, 1, 7, 8, 9, 4, 1, 1),
    lengths: Int32Array.of(2, 3, 1),
  });
});
