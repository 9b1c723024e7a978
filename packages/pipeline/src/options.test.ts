import { z } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { builtIns } from "./registry.js";

describe.each(builtIns.map((factory) => [`${factory.kind} ${factory.id}`, factory] as const))(
  "%s",
  (_, factory) => {
    it("says in one line what it does", () => {
      expect(factory.summary).toMatch(/^\S.*[^\s.]$/);
    });

    it("describes every option where it is defined, with its default", () => {
      const { properties = {} } = z.toJSONSchema(factory.optionsSchema, { io: "input" });
      const options = Object.entries(factory.optionsSchema.shape);
      expect(Object.keys(properties)).toEqual(options.map(([name]) => name));
      for (const [name, schema] of options) {
        expect((schema as z.ZodType).description, name).toMatch(/^\S[^\n]*[^\s.]$/);
        // What may be left out has a default, or does nothing then.
        expect((schema as z.ZodType).safeParse(undefined).success, name).toBe(true);
      }
    });
  },
);

it("knows plug-ins of every kind", () => {
  expect(new Set(builtIns.map(({ kind }) => kind))).toEqual(
    new Set(["embedding", "planner", "quantizer", "repair", "similarity", "strategy", "transform"]),
  );
});
