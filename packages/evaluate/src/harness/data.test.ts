import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readDataFile } from "./data-file.js";
import { dataNames, findData, readSplit } from "./find-data.js";
import { findTask, singleTasks } from "./task-index.js";

const golden = fileURLToPath(new URL("../../test/golden", import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "data-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("data files", () => {
  const write = async (name: string, text: string) => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };

  it("are JSON lines, a JSON list, or CSV with a heading or with given columns", async () => {
    const rows = [
      { a: "1", b: "x, y" },
      { a: "2", b: "z" },
    ];
    expect(
      await readDataFile(await write("a.jsonl", rows.map((row) => JSON.stringify(row)).join("\n\n"))),
    ).toEqual(rows);
    expect(await readDataFile(await write("a.json", JSON.stringify(rows, null, 2)))).toEqual(rows);
    expect(await readDataFile(await write("a.csv", 'a,b\n1,"x, y"\n2,z\n'))).toEqual(rows);
    const bare = await write("b.csv", '1,"x, y"\n2,z\n');
    expect(await readDataFile(bare, { columnNames: ["a", "b"] })).toEqual(rows);
  });

  it("are Parquet, in pieces, by both packings of the hub", async () => {
    const [{ config }] = singleTasks(await findTask("arc_easy"));
    const { rows, files } = await readSplit(join(golden, "parquet"), config, "test", true);
    expect(files).toHaveLength(2);
    expect(rows).toHaveLength(6);
    expect(rows[5]).toEqual({
      question: "Jon?",
      choices: { text: ["Jon", "é", "c"], label: ["A", "B", "C"] },
      answerKey: "B",
      id: 5,
      none: null,
    });
  });

  it.each([
    ["c.jsonl", '{"a":1}\n{"a":\n', "TASK_ROW_INVALID", "c.jsonl, line 2"],
    ["d.jsonl", "[1]\n", "TASK_ROW_INVALID", "d.jsonl, line 1"],
    ["e.csv", "a,b\n1,2\n3\n", "TASK_ROW_INVALID", "e.csv, row 2"],
    ["f.jsonl", "\n", "QUESTIONS_EMPTY", "f.jsonl"],
    ["g.parquet", "PAR1 but not really PAR1", "PARQUET_INVALID", "g.parquet"],
  ])("%s is refused where it is wrong", async (name, text, code, where) => {
    await expect(readDataFile(await write(name, text))).rejects.toMatchObject({
      code,
      where: expect.stringContaining(where),
    });
  });
});

it("are found by their names, in the documented order", async () => {
  const set = { task: "mmlu_x", dataset_path: "cais/mmlu", dataset_name: "x" };
  const names = dataNames(set, "test", true);
  expect(names).toEqual([
    ...["mmlu_x/test", "mmlu_x-test", "mmlu_x_test"],
    ...["cais/mmlu/x/test", "cais/mmlu/data/x/test", "cais/mmlu/data/test", "cais/mmlu/test"],
    ...["mmlu/x/test", "mmlu/data/x/test", "mmlu/data/test", "mmlu/test"],
    ...["cais/mmlu/test/x_test", "mmlu/test/x_test", "mmlu_x"],
  ]);
  // From the last to the first, each new one is found before those that were there.
  for (const name of [...names].reverse()) {
    const file = join(folder, "found", `${name}.csv`);
    await mkdir(join(file, ".."), { recursive: true });
    await writeFile(file, "a\n1\n");
    expect(await findData(join(folder, "found"), set, "test", true)).toEqual([file]);
  }
  expect(await findData(join(folder, "found"), set, "dev")).toBeUndefined();
});
