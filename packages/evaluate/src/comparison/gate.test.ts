import { describe, expect, it } from "vitest";
import { checkGate, gateFigure, parseGate } from "./gate.js";

describe("a gate", () => {
  it("is conditions with commas between them", () => {
    expect(
      parseGate("perplexity<1.05x, acc( mmlu ) >= -2e-2d,exact_match(gsm8k, strict-match) > .5"),
    ).toEqual([
      { text: "perplexity<1.05x", figure: "perplexity", operator: "<", limit: 1.05, compared: "ratio" },
      {
        text: "acc( mmlu ) >= -2e-2d",
        figure: "acc(mmlu)",
        operator: ">=",
        limit: -0.02,
        compared: "difference",
      },
      {
        text: "exact_match(gsm8k, strict-match) > .5",
        figure: "exact_match(gsm8k,strict-match)",
        operator: ">",
        limit: 0.5,
        compared: "value",
      },
    ]);
    expect(parseGate("perplexity(a b.txt[0:9])<9")[0].figure).toBe("perplexity(a b.txt[0:9])");
  });

  it.each([
    ["", 1, "its end", "a figure"],
    ["perplexity", 11, "its end", "<, <=, > or >="],
    ["perplexity=1", 11, '"=1"', "<, <=, > or >="],
    ["perplexity<", 12, "its end", "a number"],
    ["perplexity<fast", 12, '"fast"', "a number"],
    ["perplexity<1.05y", 16, '"y"', "x, d or nothing"],
    ["perplexity<1.05 times", 17, '"times"', "x, d or nothing"],
    ["perplexity<5%", 13, '"%"', "x, d or nothing"],
    ["perplexity<1.2.3", 15, '".3"', "x, d or nothing"],
    ["perplexity<1 acc>1", 14, '"acc>1"', "x, d or nothing"],
    ["perplexity<1;acc>1", 13, '";acc>1"', "a comma or the end"],
    ["acc(mmlu>1", 4, '"(mmlu>1"', "<, <=, > or >="],
    ["acc()>1", 4, '"()>1"', "<, <=, > or >="],
    ["acc>1,", 7, "its end", "a figure"],
    ["5<acc", 1, '"5<acc"', "a figure"],
  ])("%j cannot be read", (text, character, got, expected) => {
    expect(() => parseGate(text)).toThrow(
      expect.objectContaining({
        code: "GATE_INVALID",
        got,
        where: `--gate, character ${character}`,
        reason: expect.stringContaining(`expected ${expected}`),
      }),
    );
  });

  const figures = [
    { figure: "perplexity(a.txt)", first: 20, value: 20.5 },
    { figure: "kl_divergence(a.txt)", first: null, value: 0.02 },
    { figure: "acc(mmlu)", first: 0.5, value: 0.49 },
    { figure: "acc(arc_easy)", first: 0.6, value: 0.7 },
    { figure: "exact_match(gsm8k,strict-match)", first: 0.2, value: 0.1 },
  ];
  const check = (text: string) => checkGate(parseGate(text), figures);

  it("holds or not, each condition by its own figure", () => {
    expect(check("perplexity<1.05x,perplexity<20, acc(mmlu)>=-0.01d, acc(mmlu)>-0.01d")).toEqual([
      {
        condition: "perplexity<1.05x",
        figure: "perplexity(a.txt)",
        compared: "ratio",
        found: 1.025,
        limit: 1.05,
        passed: true,
      },
      expect.objectContaining({ found: 20.5, passed: false }),
      expect.objectContaining({ found: expect.closeTo(-0.01, 12), passed: true }),
      expect.objectContaining({ found: expect.closeTo(-0.01, 12), passed: false }),
    ]);
    expect(check("exact_match(gsm8k)>0.5x")[0].passed).toBe(false);
  });

  it.each(["perplexity<2x", "perplexity>0.1x", "perplexity<1d", "perplexity>1"])(
    "is broken by what is not a number: %s",
    (text) => {
      const broken = [{ figure: "perplexity(a.txt)", first: 20, value: Number.NaN }];
      expect(checkGate(parseGate(text), broken)[0].passed).toBe(false);
    },
  );

  it("refuses figures that are not measured, or not alone in their name", () => {
    const known = figures.map(({ figure }) => figure);
    const error = (figure: string) => {
      try {
        return gateFigure({ figure, text: figure }, known);
      } catch (thrown) {
        return thrown;
      }
    };
    expect(error("acc(mmul)")).toMatchObject({
      code: "GATE_UNKNOWN",
      reason: expect.stringContaining('Did you mean "acc(mmlu)"?'),
      wanted: known.join(", "),
    });
    expect(error("perplexty")).toMatchObject({
      reason: expect.stringContaining('Did you mean "perplexity"?'),
    });
    expect(error("acc")).toMatchObject({ code: "GATE_AMBIGUOUS", wanted: "acc(mmlu), acc(arc_easy)" });
    expect(() => check("kl_divergence<1.1x")).toThrow(expect.objectContaining({ code: "GATE_INVALID" }));
  });
});
