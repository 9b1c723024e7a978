import { defineTask, jsonCodec, type Task } from "@layerfold/tasks";
import fc from "fast-check";
import { expect, it } from "vitest";
import { indexExpression, jobArrays, levelsOf } from "./job-arrays.js";

const node = defineTask({
  kind: "node",
  code: "1",
  codec: jsonCodec<number>(),
  run: async (_: { name: string }) => 0,
});
const make = (name: string, ...reads: readonly Task[]): Task =>
  (node as unknown as (parameters: object, inputs: object) => Task)({ name }, { ...reads });

it("levels follow what reads what within the stage", () => {
  const outside = make("made before");
  const a = make("a", outside);
  const b = make("b");
  const both = make("both", a, b);
  const late = make("late", both, b);
  expect(levelsOf({ id: "1", tasks: [a, both, b, late] })).toEqual([[0, 2], [1], [3]]);
});

it("every rank is one element of one array, at an index that the cluster takes", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(5000), { minLength: 1 }),
      fc.integer({ min: 2, max: 1001 }),
      (given, most) => {
        const ranks = given.sort((a, b) => a - b);
        const arrays = jobArrays(ranks, most);
        expect(arrays.flatMap(({ offset, indices }) => indices.map((index) => offset + index))).toEqual(
          ranks,
        );
        for (const { indices } of arrays) for (const index of indices) expect(index).toBeLessThan(most);
        expect(new Set(arrays.map(({ offset }) => offset)).size).toBe(arrays.length);
      },
    ),
  );
});

it.each([
  [[0], undefined, "0"],
  [[0, 1, 2, 3], 2, "0-3%2"],
  [[0, 2, 3, 4, 9, 10], 16, "0,2-4,9-10%16"],
])("the indices %j, %s at a time, are %s", (indices, atOnce, expression) => {
  expect(indexExpression(indices, atOnce)).toBe(expression);
});
