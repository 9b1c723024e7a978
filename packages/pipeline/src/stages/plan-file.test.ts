import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tensor } from "@layerfold/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readPlan } from "./plan-file.js";
import { loadSimilarity } from "./similarity.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "plan-file-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** As PowerShell's `>` writes it. */
const utf16 = (value: unknown) => Buffer.from(`\ufeff${JSON.stringify(value)}\r\n`, "utf16le");

it("a plan and a matrix are read as other texts are, and refused as they are", async () => {
  const plan = { version: 1, num_hidden_layers: 3, groups: [{ layers: [0] }, { layers: [1, 2] }] };
  const file = join(folder, "plan.json");
  await writeFile(file, utf16(plan));
  expect(await readPlan(file)).toMatchObject({ num_hidden_layers: 3 });
  await writeFile(file, "{");
  await expect(readPlan(file)).rejects.toMatchObject({ code: "PLAN_INVALID", where: file });
  await writeFile(file, "PAR1");
  await expect(readPlan(file)).rejects.toMatchObject({ code: "FILE_NOT_TEXT", got: "Parquet" });
  await expect(readPlan(join(folder, "none.json"))).rejects.toMatchObject({ code: "FILE_MISSING" });

  const matrix = join(folder, "similarity.json");
  await writeFile(
    matrix,
    utf16({
      matrix: [
        [1, 0.5],
        [0.5, 1],
      ],
    }),
  );
  expect(await loadSimilarity(matrix, 2)).toEqual(tensor(Float64Array.of(1, 0.5, 0.5, 1), [2, 2]));
  await writeFile(matrix, Buffer.from([0x22, 0xe9, 0x22]));
  await expect(loadSimilarity(matrix, 2)).rejects.toMatchObject({ code: "TEXT_ENCODING" });
});
