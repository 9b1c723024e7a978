import type { EvaluationTask } from "@layerfold/core";
import { type EvaluationTaskCheckOptions, evaluationTaskChecks } from "@layerfold/testkit";
import { describe, it } from "vitest";
import { arc } from "./tasks/arc.js";
import { hellaswag } from "./tasks/hellaswag.js";
import { openbookqa } from "./tasks/openbookqa.js";
import { piqa } from "./tasks/piqa.js";
import { winogrande } from "./tasks/winogrande.js";

const hubChoices = { choices: { text: ["so", "not"], label: ["A", "B"] }, answerKey: "B" };
const scene = {
  activity_label: "Baking",
  ctx_a: "[header] Warm up.",
  ctx_b: "the baker",
  endings: ["eats", "sleeps"],
};
const sentence = { sentence: "Ann helped Eve because _ was kind.", option1: "Ann", option2: "Eve" };

// Made-up rows in the layouts of the hub, and such as its test splits have, without a label.
const tasks: Record<string, [task: EvaluationTask, options: EvaluationTaskCheckOptions]> = {
  arc: [
    arc,
    {
      rows: [
        { question: "Why?", ...hubChoices },
        { question: "Why?", choices: ["so", "not"], answer: 1 },
      ],
      refused: [{ question: "Why?", ...hubChoices, answerKey: "" }],
    },
  ],
  openbookqa: [
    openbookqa,
    {
      rows: [
        { question_stem: "Fog is", ...hubChoices },
        { question: "Fog is", choices: ["wet", "dry"], answer: 0 },
      ],
      refused: [{ question: "Fog is", choices: ["wet"], answer: 0 }],
    },
  ],
  piqa: [
    piqa,
    {
      rows: [{ goal: "Open a door", sol1: "push", sol2: "sing", label: 0 }],
      refused: [{ goal: "Open a door", sol1: "push", sol2: "sing", label: -1 }],
    },
  ],
  hellaswag: [hellaswag, { rows: [{ ...scene, label: "1" }], refused: [{ ...scene, label: "" }] }],
  winogrande: [winogrande, { rows: [{ ...sentence, answer: "2" }], refused: [{ ...sentence, answer: "" }] }],
};

describe.each(Object.entries(tasks))("%s", (_, [task, options]) => {
  for (const { name, run } of evaluationTaskChecks(() => task, options)) it(name, run);
});
