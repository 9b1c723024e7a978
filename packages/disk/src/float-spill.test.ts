import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openFloatSpill } from "./float-spill.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "layerfold-spill-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const row = (value: number, length = 8) => new Float32Array(length).fill(value);

it.each([0, 32, 64, 4096])("gives back what was put, with %d bytes in memory", async (memoryBytes) => {
  const spill = await openFloatSpill({ memoryBytes, folder });
  for (const index of [3, 0, 7]) await spill.put(index, row(index));
  await spill.put(0, Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7));
  expect(await spill.get(3)).toEqual(row(3));
  expect(await spill.get(7)).toEqual(row(7));
  expect(await spill.get(0, 2, 3)).toEqual(Float32Array.of(2, 3, 4));
  expect(await spill.get(0, 6)).toEqual(Float32Array.of(6, 7));
  await expect(spill.put(3, row(1, 4))).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
  await expect(spill.get(5)).rejects.toMatchObject({ code: "TENSOR_MISSING" });
  expect(readdirSync(folder)).toHaveLength(memoryBytes >= 96 ? 0 : 1);
  await spill.close();
  expect(readdirSync(folder)).toEqual([]);
});

it("says before anything is written that the disk has no room", async () => {
  await expect(openFloatSpill({ expectedBytes: 2 ** 60, folder })).rejects.toMatchObject({
    code: "DISK_FULL",
    fault: "environment",
  });
});
