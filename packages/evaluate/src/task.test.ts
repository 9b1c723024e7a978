import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
    await writeFile(test, "Two?,p,q,r,B\n");
    await expect(readMmlu(test)).rejects.toMatchObject({ code: "TASK_ROW_INVALID", where: `${test}, row 1` });
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
