import { expect, it } from "vitest";
import * as merge from "./index.js";
import { preset, presetIds, presets } from "./presets.js";

it.each(presetIds)(
  "%s names planners, strategies and repairs that are here, with options that they know",
  (id) => {
    const { planner, strategy, repair } = preset(id);
    const factories = Object.values(merge).filter(
      (value) => typeof value === "function" && "optionsSchema" in value,
    );
    for (const [kind, part] of Object.entries({ planner, strategy, ...(repair && { repair }) })) {
      const factory = factories.find((candidate) => candidate.kind === kind && candidate.id === part.id);
      expect(factory, `${kind} ${part.id}`).toBeDefined();
      expect(factory!.optionsSchema.safeParse(part.options ?? {}).success).toBe(true);
    }
  },
);

it("says where every method is published, but for our own", () => {
  expect(presets.filter(({ source }) => !source).map(({ id }) => id)).toEqual(["layerfold"]);
});

it("names the known methods when asked for another", () => {
  expect(() => preset("mkaa")).toThrow(
    expect.objectContaining({ code: "PRESET_UNKNOWN", message: expect.stringContaining("mka-last-first") }),
  );
});
