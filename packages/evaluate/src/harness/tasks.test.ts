import { describe, expect, it } from "vitest";
import { type PrepareOptions, prepareDocuments } from "./documents.js";
import type { Row } from "./python-text.js";
import { readTaskConfig } from "./task-config.js";
import { builtInTasks, findTask, groupsOf, singleTasks } from "./task-index.js";

async function prepare(task: string, row: Row, options?: PrepareOptions) {
  const node = await findTask(task);
  const [document] = prepareDocuments(singleTasks(node)[0].config, [row], { fewshot: 0, ...options });
  return document;
}

/** Context, choices behind it, and the right one. */
async function asked(task: string, row: Row) {
  const { requests, choices, gold } = await prepare(task, row);
  const pairs = requests.map((request) =>
    request.kind === "loglikelihood" ? [request.context, request.continuation] : [],
  );
  return {
    contexts: [...new Set(pairs.map(([context]) => context))],
    ends: pairs.map(([, end]) => end),
    choices,
    gold,
  };
}

// Made-up rows; what the harness's own task files and functions make of them.
describe("built-in tasks", () => {
  it("arc takes the hub's rows and flat ones", async () => {
    const expected = {
      contexts: ["Question: Why?\nAnswer:"],
      ends: [" so", " not"],
      choices: ["so", "not"],
      gold: 1,
    };
    const hub = { question: "Why?", choices: { text: ["so", "not"], label: ["1", "2"] }, answerKey: "2" };
    expect(await asked("arc_easy", hub)).toEqual(expected);
    expect(await asked("arc_challenge", { question: "Why?", choices: ["so", "not"], answer: 1 })).toEqual(
      expected,
    );
  });

  it("openbookqa asks by the bare stem", async () => {
    const choices = { text: ["wet", "dry"], label: ["A", "B"] };
    const expected = { contexts: ["Fog is"], ends: [" wet", " dry"], choices: ["wet", "dry"], gold: 0 };
    expect(await asked("openbookqa", { question_stem: "Fog is", choices, answerKey: "A" })).toEqual(expected);
    expect(await asked("openbookqa", { question: "Fog is", choices: ["wet", "dry"], answer: 0 })).toEqual(
      expected,
    );
  });

  it("piqa", async () => {
    expect(await asked("piqa", { goal: "Open a door", sol1: "push", sol2: "sing", label: 0 })).toEqual({
      contexts: ["Question: Open a door\nAnswer:"],
      ends: [" push", " sing"],
      choices: ["push", "sing"],
      gold: 0,
    });
  });

  it("hellaswag cleans WikiHow marks and capitalises the second half of the scene", async () => {
    const row = {
      activity_label: "Baking",
      ctx_a: "[header] How to bake [title] Warm up.",
      ctx_b: "the Baker",
      endings: ["eats [step] it.", "  sleeps. "],
      label: "1",
    };
    expect(await asked("hellaswag", row)).toEqual({
      contexts: ["Baking: How to bake. Warm up. The baker"],
      ends: [" eats it.", " sleeps."],
      choices: ["eats it.", "sleeps."],
      gold: 1,
    });
  });

  it("winogrande puts each option in the blank and scores the rest of the sentence", async () => {
    const row = {
      sentence: "Ann helped Eve because _ was kind.",
      option1: "Ann",
      option2: "Eve",
      answer: "2",
    };
    const contexts = ["Ann helped Eve because Ann", "Ann helped Eve because Eve"];
    const ends = [" was kind.", " was kind."];
    expect(await asked("winogrande", row)).toEqual({ contexts, ends, choices: contexts, gold: 1 });
  });

  it("boolq, with a number and with a truth value", async () => {
    const row = { passage: "Fog is wet.", question: "is fog dry" };
    const expected = {
      contexts: ["Fog is wet.\nQuestion: is fog dry?\nAnswer:"],
      ends: [" no", " yes"],
      choices: ["no", "yes"],
      gold: 0,
    };
    expect(await asked("boolq", { ...row, label: 0 })).toEqual(expected);
    expect(await asked("boolq", { ...row, answer: false })).toEqual(expected);
  });

  it("race asks the last problem of an article behind the solved ones", async () => {
    const problems =
      "[{'question': 'Fog  _  .', 'answer': 'A', 'options': ['is wet', 'b', 'c', 'd']}, {'question': \"Who's it?\", 'answer': 'C', 'options': ['a', 'b', 'c', 'd']}, {'question': 'Where?', 'answer': 'B', 'options': ['w', 'x', 'y', 'z']}]";
    expect(await asked("race", { article: "Fog.", problems })).toEqual({
      contexts: ["Article: Fog.\n\nFog is wet\nQuestion: Who's it?\nAnswer: c\nWhere?"],
      ends: [" w", " x", " y", " z"],
      choices: ["w", "x", "y", "z"],
      gold: 1,
    });
    const one = { article: "Fog.", question: "Where?", options: ["w", "x", "y", "z"], answer: "B" };
    expect(await asked("race", one)).toMatchObject({ contexts: ["Article: Fog.\n\nWhere?"], gold: 1 });
  });

  it("lambada", async () => {
    const { requests } = await prepare("lambada", { text: "She saw a cat" });
    expect(requests).toEqual([{ kind: "loglikelihood", context: "She saw a", continuation: " cat" }]);
  });

  it("wikitext undoes the tokenisation, and counts the page as it was", async () => {
    const page =
      ' = Fog = \n \n It was @-@ 1 @,@ 000 m ( about ) " wet " , they \'s said : no . Yes ; A = = B = = \n';
    const { requests, counted } = await prepare("wikitext", { page });
    expect(requests).toEqual([
      {
        kind: "rolling",
        text: ' = Fog =\n\nIt was-1,000 m (about) "wet", they\'s said: no. Yes; A == B ==\n',
      },
    ]);
    expect(counted).toEqual({ words: page.split(/\s+/).length, bytes: page.length });
  });

  it("gsm8k", async () => {
    const { requests, target } = await prepare("gsm8k", { question: "1 + 1?", answer: "1 + 1 = 2\n#### 2" });
    expect(requests).toEqual([
      {
        kind: "generate",
        context: "Question: 1 + 1?\nAnswer:",
        until: ["Question:", "</s>", "<|im_end|>"],
        maxTokens: 256,
      },
    ]);
    expect(target).toBe("1 + 1 = 2\n#### 2");
  });

  it("mmlu is 57 subjects in four groups, with five examples", async () => {
    const node = await findTask("mmlu");
    expect(singleTasks(node)).toHaveLength(57);
    expect(groupsOf(node).map(({ name }) => name)).toEqual([
      "mmlu_stem",
      "mmlu_other",
      "mmlu_social_sciences",
      "mmlu_humanities",
      "mmlu",
    ]);
    const [{ config }] = singleTasks(await findTask("mmlu_anatomy"));
    const row = (question: string) => ({ question, choices: ["a", "b", "c", "d"], answer: 1 });
    const shown = ["1?", "2?", "3?", "4?", "5?", "6?"].map(row);
    const [document] = prepareDocuments(config, [row(" Where? ")], { fewshotRows: shown });
    const asks = (question: string) => `${question}\nA. a\nB. b\nC. c\nD. d\nAnswer:`;
    expect(document).toMatchObject({ gold: 1, choices: ["A", "B", "C", "D"] });
    expect(document.requests[0]).toEqual({
      kind: "loglikelihood",
      context: `The following are multiple choice questions (with answers) about anatomy.\n\n${[
        "1?",
        "2?",
        "3?",
        "4?",
        "5?",
      ]
        .map((question) => `${asks(question)} B\n\n`)
        .join("")}${asks("Where?")}`,
      continuation: " A",
    });
    const csv = { question: "Where?", A: "a", B: "b", C: "c", D: "d", answer: "C" };
    expect(prepareDocuments(config, [csv], { fewshot: 0 })[0].gold).toBe(2);
    expect(() => prepareDocuments(config, [csv])).toThrow(
      expect.objectContaining({ code: "FEWSHOT_TOO_FEW" }),
    );
  });

  it("are all read", async () => {
    for (const name of builtInTasks) expect(singleTasks(await findTask(name)).length).toBeGreaterThan(0);
  });
});

describe("rows that do not fit are refused by document and field", () => {
  // The hub's test splits write "" (HellaSwag, WinoGrande) or -1 (PIQA).
  it.each<[string, Row, string]>([
    ["piqa", { goal: "g", sol1: "a", sol2: "b", label: -1 }, "names none of the choices"],
    ["piqa", { goal: "g", sol1: "a", sol2: "b", label: 2 }, "names none of the choices"],
    ["piqa", { goal: "g", sol1: "a", sol2: "b", label: null }, "names none of the choices"],
    ["piqa", { goal: "g", sol1: "a", sol2: "", label: 0 }, "gives no choices"],
    ["piqa", { goal: "g", sol1: "a", label: 0 }, 'no column "sol2"'],
    [
      "hellaswag",
      { activity_label: "x", ctx_a: "a", ctx_b: "b", endings: ["a", "b"], label: "" },
      "none of the choices",
    ],
    ["winogrande", { sentence: "no blank", option1: "a", option2: "b", answer: "1" }, '"_" is not in'],
    ["winogrande", { sentence: "_ won.", option1: "a", option2: "b", answer: "" }, "none of the choices"],
    [
      "arc_easy",
      { question: "?", choices: { text: ["a", "b"], label: ["A", "B"] }, answerKey: "E" },
      "is not in",
    ],
    ["arc_easy", { question: "?", choices: ["a"], answer: 0 }, "gives no choices"],
    ["boolq", { passage: "p", question: "q" }, 'no column "answer"'],
  ])("%s %o", async (task, row, message) => {
    await expect(prepare(task, row)).rejects.toMatchObject({
      message: expect.stringContaining(message),
      where: expect.stringMatching(/^\w+, document 0/),
    });
  });
});

describe("task files", () => {
  const base = { task: "mine", doc_to_text: "{{a}}", doc_to_target: "{{b}}", test_split: "test" };

  it.each([
    ["process_docs", { process_docs: "x" }],
    ["process_results", { process_results: "x" }],
    ["doc_to_image", { doc_to_image: ["x"] }],
    ["repeats", { repeats: 64 }],
    ["generation_kwargs.do_sample", { generation_kwargs: { do_sample: true } }],
    ["metric_list.0.metric", { metric_list: [{ metric: "bleu" }] }],
    ["doc_to_txt", { doc_to_txt: "x" }],
  ])("what cannot be expressed is refused by name: %s", (field, change) => {
    expect(() => readTaskConfig({ ...base, ...change }, "mine.yaml")).toThrow(
      expect.objectContaining({
        code: "TASK_FIELD_UNSUPPORTED",
        message: expect.stringContaining(`"${field}"`),
      }),
    );
  });

  it("names are suggested", async () => {
    await expect(findTask("arc_eazy")).rejects.toMatchObject({
      code: "TASK_UNKNOWN",
      message: expect.stringContaining('Did you mean "arc_easy"?'),
    });
    await expect(findTask("toString")).rejects.toMatchObject({ code: "TASK_UNKNOWN" });
    expect(singleTasks(await findTask("ai2_arc")).map(({ name }) => name)).toEqual([
      "arc_challenge",
      "arc_easy",
    ]);
  });

  it("examples are drawn one document after the other, and none is the document itself", () => {
    const config = readTaskConfig({ ...base, output_type: "loglikelihood", num_fewshot: 2 }, "");
    const rows = Array.from({ length: 9 }, (_, i) => ({ a: `${i}`, b: `x${i}` }));
    const made = prepareDocuments({ ...config, fewshot_split: "test" }, rows, { fewshotRows: rows });
    for (const { id, requests } of made) {
      const [{ context }] = requests as readonly { context: string }[];
      expect(context).toMatch(new RegExp(`^\\d x\\d\n\n\\d x\\d\n\n${id}$`));
      expect(
        context
          .split("\n\n")
          .slice(0, 2)
          .some((shown) => shown.startsWith(`${id} `)),
      ).toBe(false);
    }
    expect(new Set(made.map(({ requests }) => JSON.stringify(requests))).size).toBe(9);
  });
});
