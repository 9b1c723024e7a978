import { dropPlan, parsePlan } from "@layerfold/core";
import { expect, it } from "vitest";
import { planSvg } from "./plan-svg.js";

const titles = (svg: string) => [...svg.matchAll(/<title>([^<]*)<\/title>/g)].map(([, text]) => text);

it("shows every layer, and says what becomes of each group", () => {
  const plan = parsePlan({
    version: 1,
    num_hidden_layers: 6,
    groups: [
      { layers: [0] },
      { layers: [1, 2], weights: [0, 1] },
      { layers: [3, 4, 5], weights: [0.5, 0.25, 0.25] },
    ],
  });
  const svg = planSvg(plan, "six to three");
  expect(titles(svg)).toEqual([
    "layer 0 stays",
    "layer 2 stays, 1 dropped",
    "layers 3, 4, 5 fold into one with weights 0.500, 0.250, 0.250",
  ]);
  // Six boxes above, three below, one of them empty: the dropped layer 1.
  expect(svg.match(/<rect/g)).toHaveLength(9);
  expect(svg.match(/stroke-dasharray/g)).toHaveLength(1);
  expect(svg).toContain("6 layers become 3; together: layers 1, 2; layers 3, 4, 5");
});

it("still fits a page with 80 layers", () => {
  const svg = planSvg(dropPlan(80, [0, 10, 79]), "deep");
  expect(Number(/viewBox="0 0 ([\d.]+)/.exec(svg)![1])).toBeLessThan(1100);
});
