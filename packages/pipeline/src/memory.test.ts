import { totalmem } from "node:os";
import { expect, it } from "vitest";
import { availableMemory, parseMemory } from "./memory.js";

it.each([
  ["8GiB", 8 * 2 ** 30],
  ["1.5 gib", 1.5 * 2 ** 30],
  ["512MiB", 2 ** 29],
  ["6GB", 6e9],
  ["1024", 1024],
  [2048, 2048],
])("reads %s", (given, bytes) => expect(parseMemory(given)).toBe(bytes));

it.each(["lots", "", "8 gigs", "-1GiB", "0", "1e9", Number.NaN, Number.POSITIVE_INFINITY])(
  "refuses %s",
  (given) => {
    expect(() => parseMemory(given)).toThrow(expect.objectContaining({ code: "MEMORY_INVALID" }));
  },
);

it("tells what is free, which is not more than there is", () => {
  expect(availableMemory()).toBeGreaterThan(0);
  expect(availableMemory()).toBeLessThanOrEqual(totalmem());
});
