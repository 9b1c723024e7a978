import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answeredTexts, benchmarkIds, benchmarkTexts, readBenchmark } from "./benchmark.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "benchmark-"));
});
afterAll(() => rm(folder, { recursive: true }));

const answered: Record<string, string> = {
  arc_easy: "Question: Why?\nAnswer: not",
  arc_challenge: "Question: Why?\nAnswer: not",
  piqa: "Question: Open a door\nAnswer: sing",
  hellaswag: "Baking: A. He sleeps.",
  winogrande: "Ann saw that Eve won.",
  openbookqa: "Fog is dry",
};

const rows: Record<string, unknown> = {
  arc_easy: { question: "Why?", choices: ["so", "not"], answer: 1 },
  arc_challenge: { question: "Why?", choices: ["so", "not"], answer: 1 },
  piqa: { goal: "Open a door", sol1: "push", sol2: "sing", label: 1 },
  hellaswag: { activity_label: "Baking", ctx_a: "A.", ctx_b: "he", endings: ["eats.", "sleeps."], label: 1 },
  winogrande: { sentence: "Ann saw that _ won.", option1: "Ann", option2: "Eve", answer: "2" },
  openbookqa: { question: "Fog is", choices: ["wet", "dry"], answer: 1 },
};

describe("a public benchmark", () => {
  it.each(Object.entries(rows))("%s is read by its name", async (id, row) => {
    const file = join(folder, `${id}.jsonl`);
    await writeFile(file, `${JSON.stringify(row)}\n`);
    const benchmark = await readBenchmark(id, file);
    expect(benchmark).toMatchObject({ id, documents: [{ gold: 1 }] });
    expect(answeredTexts(benchmark)).toEqual([answered[id]]);
    const both = answeredTexts(benchmark, { wrong: true });
    expect(both).toHaveLength(2);
    expect(both[1]).toBe(answered[id]);
    expect(both[0]).not.toBe(answered[id]);
    const [shown] = benchmarkTexts(benchmark);
    expect(answered[id].startsWith(`${shown} `)).toBe(true);
    expect(benchmarkIds).toContain(id);
  });

  it("lambada is texts", async () => {
    const file = join(folder, "lambada.jsonl");
    await writeFile(file, '{"text":"She saw a cat"}\n');
    const benchmark = await readBenchmark("lambada", file);
    expect(benchmark.documents).toMatchObject([
      { requests: [{ context: "She saw a", continuation: " cat" }], target: " cat" },
    ]);
    expect(benchmarkTexts(benchmark)).toEqual(["She saw a"]);
    expect(answeredTexts(benchmark)).toEqual(["She saw a cat"]);
    await writeFile(file, '{"word":"cat"}\n');
    await expect(readBenchmark("lambada", file)).rejects.toMatchObject({
      code: "TASK_ROW_INVALID",
      message: expect.stringContaining('no column "text"'),
      where: `${file}, document 0, doc_to_text`,
    });
  });

  it("mmlu is a subject, or a folder of them whose dev questions stand before", async () => {
    for (const part of ["test", "dev"]) await mkdir(join(folder, "mmlu", part), { recursive: true });
    const write = (name: string, row: string) => writeFile(join(folder, "mmlu", name), row);
    await write("test/anatomy_test.csv", "Where?,a,b,c,d,C\n");
    await write("test/virology_test.csv", "What?,a,b,c,d,A\nWho?,a,b,c,d,B\n");
    await write("dev/virology_dev.csv", "Shown?,a,b,c,d,D\n");
    const { documents } = await readBenchmark("mmlu", join(folder, "mmlu"));
    expect(documents).toMatchObject([
      { id: 0, subject: "anatomy", gold: 2 },
      { id: 1, subject: "virology", gold: 0 },
      {
        id: 2,
        subject: "virology",
        gold: 1,
        requests: [{ context: expect.stringContaining("Shown?") }, {}, {}, {}],
      },
    ]);
    const one = await readBenchmark("mmlu", join(folder, "mmlu/test/anatomy_test.csv"));
    expect(one.documents).toEqual([documents[0]]);
    await expect(readBenchmark("mmlu", join(folder, "none"))).rejects.toMatchObject({ code: "FILE_MISSING" });
  });

  it("has a name", async () => {
    for (const id of ["arc", "toString"]) {
      await expect(readBenchmark(id, "x.jsonl")).rejects.toMatchObject({
        code: "TASK_UNKNOWN",
        wanted: benchmarkIds.join(", "),
      });
    }
  });
});
