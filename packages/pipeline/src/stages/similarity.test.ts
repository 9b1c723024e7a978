import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { loadSimilarity } from "./similarity.js";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "similarity-"));
});
afterEach(() => rm(folder, { recursive: true }));

it("takes a square matrix of finite numbers, and nothing else", async () => {
  const file = join(folder, "s.json");
  const load = async (matrix: string) => {
    await writeFile(file, `{"matrix":${matrix}}`);
    return loadSimilarity(file, 2);
  };
  expect([...(await load("[[1,0.5],[0.25,1]]")).data]).toEqual([1, 0.5, 0.25, 1]);
  // JSON.parse makes Infinity of 1e400, and a planner would follow it.
  for (const wrong of [
    "[[1,1e400],[0.5,1]]",
    "[[1,null],[0.5,1]]",
    '[[1,"0.5"],[0.5,1]]',
    "[[1,0],[0]]",
    "[[1]]",
    "{}",
    "null",
  ]) {
    await expect(load(wrong), wrong).rejects.toMatchObject({ code: "SIMILARITY_INVALID" });
  }
});
