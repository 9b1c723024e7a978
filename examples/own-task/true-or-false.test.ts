import { evaluationTaskChecks } from "@layerfold/testkit";
import { describe, expect, it } from "vitest";
import trueOrFalse from "./true-or-false.js";

const rows = [
  { claim: "Fog is wet.", holds: true },
  { claim: "Stones swim.", holds: false },
];

// The laws that every evaluation task obeys; a row whose truth is not known is refused.
describe("true-or-false keeps the contract", () => {
  const options = { rows, refused: [{ claim: "Fog is wet.", holds: null }] };
  for (const { name, run } of evaluationTaskChecks(() => trueOrFalse, options)) it(name, run);
});

it("asks for the likelier word", () => {
  expect(trueOrFalse.item(rows[1], "")).toEqual({
    context: "Claim: Stones swim.\nTrue or false:",
    choices: ["true", "false"],
    answer: 1,
  });
});
