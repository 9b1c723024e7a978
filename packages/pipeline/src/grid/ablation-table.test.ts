import type { AblationCell } from "@layerfold/report";
import { expect, it } from "vitest";
import { ablationCsv, ablationMarkdown } from "./ablation-table.js";

const cell: AblationCell = {
  measure: '=HYPERLINK("x")',
  planner: "./a, b|c.ts",
  strategy: "+weighted",
  repair: null,
  removed: 2,
  perplexity: -0.5,
  perplexity_ratio: 1.25,
  accuracy: null,
  accuracy_stderr: 1e-7,
};

it("a cell holds what it was given, whatever a spreadsheet would make of it", () => {
  // RFC 4180: a field with a comma or a quote stands in quotes, a quote in it twice. A leading ' makes a spreadsheet take text for text.
  expect(ablationCsv([cell])).toBe(
    "measure,planner,strategy,repair,removed,perplexity,perplexity_ratio,accuracy,accuracy_stderr\n" +
      `"'=HYPERLINK(""x"")","./a, b|c.ts",'+weighted,,2,-0.5,1.25,,1e-7\n`,
  );
  const [, , row] = ablationMarkdown([{ ...cell, strategy: "two\nlines" }]).split("\n");
  expect(row).toBe('| =HYPERLINK("x") | ./a, b\\|c.ts | two lines | – | 2 | -0.5000 | 1.2500 | – | 0.0000 |');
});
