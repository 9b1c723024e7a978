import { fileURLToPath } from "node:url";
import { openCheckpoint } from "@layerfold/checkpoint";
import { expect, it } from "vitest";
import { chooseExecution, memoryNeed } from "./memory-need.js";

it("runs a model whole where it fits, else block by block, else says what one block takes", async () => {
  const need = { whole: 8 * 2 ** 30, blocks: 2 * 2 ** 30 };
  expect(chooseExecution(need, need.whole)).toBe("whole");
  expect(chooseExecution(need, need.whole - 1)).toBe("blocks");
  expect(chooseExecution(need, need.blocks)).toBe("blocks");
  expect(() => chooseExecution(need, need.blocks - 1)).toThrow(/wanted about 2.0 GiB, got 2.0 GiB/);
});

it("counts weights as the float32 that they run as", async () => {
  const open = (name: string) =>
    openCheckpoint(fileURLToPath(new URL(`../../../models/${name}`, import.meta.url)));
  const checkpoint = await open("foldling/checkpoint");
  const parameters = Array.from(checkpoint.tensors.values()).reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  const need = memoryNeed(checkpoint);
  expect(need.whole).toBeGreaterThan(4 * parameters);
  expect(need.whole).toBeLessThan(2 ** 29);
  expect(need.blocks).toBeLessThan(need.whole);
  await checkpoint.close();
});
