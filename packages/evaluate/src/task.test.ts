import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EvaluationTask } from "@layerfold/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readTask } from "./task.js";
import { arc } from "./tasks/arc.js";
import { hellaswag } from "./tasks/hellaswag.js";
import { readMmlu } from "./tasks/mmlu.js";
import { openbookqa } from "./tasks/openbookqa.js";
import { piqa } from "./tasks/piqa.js";
import { winogrande } from "./tasks/winogrande.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "task-"));
});
afterAll(() => rm(folder, { recursive: true }));

// Expected prompts: the templates of lm-evaluation-harness 0.4 (doc_to_text, doc_to_choice), applied by hand to made-up rows.
describe("tasks", () => {
  it("arc takes the hub's rows and flat ones", () => {
    const item = { context: "Question: Why?\nAnswer:", choices: ["so", "not"], answer: 1 };
    const hub = { question: "Why?", choices: { text: ["so", "not"], label: ["1", "2"] }, answerKey: "2" };
    expect(arc.item(hub, "")).toEqual(item);
    expect(arc.item({ question: "Why?", choices: ["so", "not"], answer: 1 }, "")).toEqual(item);
  });

  it("openbookqa asks by the bare stem", () => {
    const row = {
      question_stem: "Fog is",
      choices: { text: ["wet", "dry"], label: ["A", "B"] },
      answerKey: "A",
    };
    expect(openbookqa.item(row, "")).toEqual({ context: "Fog is", choices: ["wet", "dry"], answer: 0 });
    expect(openbookqa.item({ question: "Fog is", choices: ["wet", "dry"], answer: 0 }, "").context).toBe(
      "Fog is",
    );
  });

  it("piqa", () => {
    const item = piqa.item({ goal: "Open a door", sol1: "push", sol2: "sing", label: 0 }, "");
    expect(item).toEqual({ context: "Question: Open a door\nAnswer:", choices: ["push", "sing"], answer: 0 });
  });

  it("hellaswag cleans WikiHow marks and capitalises the second half of the scene", () => {
    const row = {
      activity_label: "Baking",
      ctx_a: "[header] How to bake [title] Warm up.",
      ctx_b: "the Baker",
      endings: ["eats [step] it.", "  sleeps. "],
      label: "1",
    };
    expect(hellaswag.item(row, "")).toEqual({
      context: "Baking: How to bake. Warm up. The baker",
      choices: ["eats it.", "sleeps."],
      answer: 1,
    });
  });

  it("winogrande puts each option in the blank and scores the rest of the sentence", () => {
    const row = {
      sentence: "Ann helped Eve because _ was kind.",
      option1: "Ann",
      option2: "Eve",
      answer: "2",
    };
    expect(winogrande.item(row, "")).toEqual({
      context: ["Ann helped Eve because Ann", "Ann helped Eve because Eve"],
      choices: ["was kind.", "was kind."],
      answer: 1,
    });
  });

  it("mmlu shows answered examples before each question", async () => {
    const [test, dev] = ["small_talk_test.csv", "small_talk_dev.csv"].map((name) => join(folder, name));
    await writeFile(test, '"Hot, or ""cold""?",a,b,"c, d",e,C\n');
    await writeFile(dev, "One?,p,q,r,s,A\nTwo?,p,q,r,s,B\n");
    const opening = "The following are multiple choice questions (with answers) about small talk.\n\n";
    const question = 'Hot, or "cold"?\nA. a\nB. b\nC. c, d\nD. e\nAnswer:';
    expect(await readMmlu(test)).toEqual([
      { context: opening + question, choices: ["A", "B", "C", "D"], answer: 2, subject: "small_talk" },
    ]);
    const [item] = await readMmlu(test, { examples: dev, exampleCount: 1 });
    expect(item.context).toBe(`${opening}One?\nA. p\nB. q\nC. r\nD. s\nAnswer: A\n\n${question}`);
    // The same with a byte order mark, as spreadsheets write it.
    await writeFile(test, '\ufeff"Hot, or ""cold""?",a,b,"c, d",e,C\r\n');
    expect((await readMmlu(test))[0].context).toBe(opening + question);
    await writeFile(test, "One?,p,q,r,s,A\nTwo?,p,q,r,s,\n");
    await expect(readMmlu(test)).rejects.toMatchObject({ got: 'answer ""', where: `${test}, row 2` });
    await writeFile(test, "Two?,p,q,r,B\n");
    await expect(readMmlu(test)).rejects.toMatchObject({ code: "TASK_ROW_INVALID", where: `${test}, row 1` });
  });

  const labelled: Record<string, { task: EvaluationTask; row: object; field: string; written: unknown[] }> = {
    arc: { task: arc, row: { question: "?", choices: ["a", "b"] }, field: "answer", written: [1, "1"] },
    "arc as the hub has it": {
      task: arc,
      row: { question: "?", choices: { text: ["a", "b"], label: ["1", "2"] } },
      field: "answerKey",
      written: ["2"],
    },
    openbookqa: {
      task: openbookqa,
      row: { question: "?", choices: ["a", "b"] },
      field: "answer",
      written: [1],
    },
    piqa: { task: piqa, row: { goal: "g", sol1: "a", sol2: "b" }, field: "label", written: [1, "1"] },
    hellaswag: {
      task: hellaswag,
      row: { activity_label: "x", ctx_a: "a", ctx_b: "b", endings: ["a", "b"] },
      field: "label",
      written: ["1", 1],
    },
    winogrande: {
      task: winogrande,
      row: { sentence: "_ won.", option1: "a", option2: "b" },
      field: "answer",
      written: ["2", 2],
    },
  };
  // The hub's test splits write "" (HellaSwag, WinoGrande) or -1 (PIQA); the rest is what JavaScript would take for a number.
  const noLabels = [
    "",
    " ",
    null,
    undefined,
    -1,
    "-1",
    3,
    "3",
    true,
    false,
    0.5,
    "0.5",
    "0x1",
    "1e0",
    [1],
    {},
    "b",
  ];

  it.each(Object.entries(labelled))(
    "%s wants a label, and says where there is none",
    (_, { task, row, field, written }) => {
      for (const label of written) expect(task.item({ ...row, [field]: label }, "").answer).toBe(1);
      for (const label of noLabels) {
        expect(() => task.item({ ...row, [field]: label }, "f, line 3"), String(label)).toThrow(
          expect.objectContaining({ code: "TASK_ROW_INVALID", where: expect.stringMatching(/^f, line 3/) }),
        );
      }
      expect(() => task.item({ ...row, [field]: null }, "f, line 3")).toThrow(
        expect.objectContaining({ got: "null", where: `f, line 3, ${field}` }),
      );
    },
  );

  it("winogrande counts its options from one", () => {
    expect(() => winogrande.item({ ...labelled.winogrande.row, answer: 0 }, "")).toThrow(/not a row/);
  });

  it("arc wants a label of its own for every choice", () => {
    const row = (label: string[]) => ({
      question: "?",
      choices: { text: ["a", "b"], label },
      answerKey: "A",
    });
    expect(arc.item(row(["A", "B"]), "").answer).toBe(0);
    for (const label of [["A"], ["A", "A"], ["A", "B", "C"]]) {
      expect(() => arc.item(row(label), "")).toThrow(/a label of its own/);
    }
  });

  it("are read line by line, and say which line is wrong", async () => {
    const file = join(folder, "piqa.jsonl");
    const row = JSON.stringify({ goal: "g", sol1: "a", sol2: "b", label: 1 });
    await writeFile(file, `${row}\n\n${row}\n`);
    expect(await readTask(piqa, file)).toHaveLength(2);
    await writeFile(file, `${row}\n{"goal":"g"}\n`);
    await expect(readTask(piqa, file)).rejects.toMatchObject({
      code: "TASK_ROW_INVALID",
      where: `${file}, line 2, sol1`,
    });
    await writeFile(file, "\n");
    await expect(readTask(piqa, file)).rejects.toMatchObject({ code: "QUESTIONS_EMPTY" });
    const beyond = { question: "?", choices: ["a", "b"], answer: 2 };
    expect(() => arc.item(beyond, "here")).toThrow(expect.objectContaining({ code: "TASK_ROW_INVALID" }));
  });
});
