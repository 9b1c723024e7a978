import { expect, it } from "vitest";
import { parseSettings } from "./settings.js";

it("reads JSON where it is JSON, else text", () => {
  const settings = parseSettings([
    "embedding.alpha=0.5",
    "embedding.kernel=gaussian",
    "planner.layers=[1,2]",
    "embedding.name=a=b",
  ]);
  expect(settings.of("embedding")).toEqual({ alpha: 0.5, kernel: "gaussian", name: "a=b" });
  expect(settings.of("planner")).toEqual({ layers: [1, 2] });
  expect(settings.of("repair")).toEqual({});
  expect(() => settings.assertUsed()).not.toThrow();
});

it("refuses a kind that nothing was made of", () => {
  const settings = parseSettings(["embeding.alpha=1"]);
  settings.of("embedding");
  expect(() => settings.assertUsed()).toThrow(
    expect.objectContaining({ code: "OPTION_UNKNOWN", got: "embeding" }),
  );
  expect(() => settings.assertUsed()).toThrow('Did you mean "embedding"?');
});

it("refuses what is no setting", () => {
  expect(() => parseSettings(["alpha=1"])).toThrow(expect.objectContaining({ code: "OPTION_INVALID" }));
});
