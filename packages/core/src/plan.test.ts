import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dropControl, dropPlan, groupName, keptLayer, parsePlan } from "./plan.js";

const invalid = expect.objectContaining({ code: "PLAN_INVALID" });
const plan = (groups: unknown, layers = 4) => ({ version: 1, num_hidden_layers: layers, groups });

describe("parsePlan", () => {
  it("takes groups of consecutive layers that cover the model", () => {
    const value = plan([{ layers: [0] }, { layers: [1, 2, 3], weights: [0.5, 0.25, 0.25] }]);
    expect(parsePlan(value)).toEqual(value);
  });

  it.each([
    ["a layer left out", plan([{ layers: [0] }, { layers: [2, 3] }])],
    ["a layer twice", plan([{ layers: [0, 1] }, { layers: [1, 2, 3] }])],
    ["the end left out", plan([{ layers: [0, 1, 2] }])],
    ["a layer beyond the model", plan([{ layers: [0, 1, 2, 3, 4] }])],
    ["an empty group", plan([{ layers: [] }, { layers: [0, 1, 2, 3] }])],
    ["weights of another length", plan([{ layers: [0, 1, 2, 3], weights: [1] }])],
    ["weights that are no numbers", plan([{ layers: [0, 1, 2, 3], weights: [1, 0, 0, "x"] }])],
    ["halves that fall silent in a merge", plan([{ layers: [0, 1, 2, 3], without: ["mlp"] }])],
    ["a part that no block has", plan([{ layers: [0], without: ["head"] }], 1)],
    ["an unknown field", { ...plan([{ layers: [0, 1, 2, 3] }]), layerz: 1 }],
    ["another version", { ...plan([{ layers: [0, 1, 2, 3] }]), version: 2 }],
    ["no plan at all", "plan"],
  ])("refuses %s", (_, value) => {
    expect(() => parsePlan(value)).toThrow(invalid);
  });
});

it("a layer without one of its halves is not kept whole", () => {
  const value = plan([{ layers: [0], without: ["attention"] }, { layers: [1] }], 2);
  expect(parsePlan(value)).toEqual(value);
  expect(parsePlan(value).groups.map(keptLayer)).toEqual([undefined, 1]);
});

describe("dropPlan", () => {
  it("keeps exactly the named layers, whichever they are", () => {
    const cases = fc.integer({ min: 1, max: 12 }).chain((n) =>
      fc.tuple(
        fc.constant(n),
        fc.subarray(
          Array.from({ length: n }, (_, i) => i),
          { minLength: 1 },
        ),
      ),
    );
    fc.assert(
      fc.property(cases, ([layerCount, kept]) => {
        const result = dropPlan(layerCount, kept);
        expect(result.groups.map(keptLayer)).toEqual(kept);
        expect(dropControl(result)).toEqual(result);
      }),
    );
  });
});

describe("keptLayer", () => {
  it("tells a drop from a fold", () => {
    expect(keptLayer({ layers: [3] })).toBe(3);
    expect(keptLayer({ layers: [3, 4], weights: [0, 1] })).toBe(4);
    expect(keptLayer({ layers: [3, 4], weights: [0.5, 0.5] })).toBeUndefined();
    expect(keptLayer({ layers: [3, 4], weights: [1, 1] })).toBeUndefined();
    expect(keptLayer({ layers: [3, 4] })).toBeUndefined();
    expect(keptLayer({ layers: [3, 4], weights: [1, 0.5] })).toBeUndefined();
    expect(keptLayer({ layers: [3, 4], weights: [0, 0] })).toBeUndefined();
  });
});

it("the control of a fold keeps the first layer of each group", () => {
  const control = dropControl(parsePlan(plan([{ layers: [0] }, { layers: [1, 2, 3] }])));
  expect(control.groups).toEqual([{ layers: [0] }, { layers: [1, 2, 3], weights: [1, 0, 0] }]);
});

it("a group's name says one layer or several", () => {
  expect([[3], [3, 4]].map((layers) => groupName({ layers }))).toEqual(["layer 3", "layers 3, 4"]);
});
