import { expect, it } from "vitest";
import { errorWithin, isLayerfoldError, LayerfoldError, throwIfAborted } from "./error.js";
import * as core from "./index.js";
import { definePlugin, type Plugin, z } from "./plugin.js";

interface Scale extends Plugin {
  apply(x: number): number;
}

const schema = z.strictObject({ factor: z.number().min(0).default(2) });
const scale = definePlugin<Scale, typeof schema>({
  kind: "demo",
  id: "scale",
  summary: "multiplies",
  optionsSchema: schema,
  create: ({ factor }) => ({ apply: (x) => x * factor }),
});

it("fills defaults and says what it was made with", () => {
  expect(scale().apply(3)).toBe(6);
  expect(scale({ factor: 5 })).toMatchObject({ kind: "demo", id: "scale", options: { factor: 5 } });
});

it("names the known options when one is unknown", () => {
  const wrong = { faktor: 3 } as unknown as { factor: number };
  expect(() => scale(wrong)).toThrow(
    expect.objectContaining({ code: "OPTION_UNKNOWN", wanted: "one of: factor", got: "faktor" }),
  );
  expect(() => scale(wrong)).toThrow('Did you mean "factor"?');
});

it("says which option is out of range", () => {
  expect(() => scale({ factor: -1 })).toThrow(
    expect.objectContaining({ code: "OPTION_INVALID", where: "demo scale, option factor" }),
  );
});

it("an error tells what was wanted, what came and where, and survives a duplicate install", () => {
  const error = new LayerfoldError("X", "no", { wanted: "1", got: "2", where: "here" });
  expect(error.message).toBe("no (wanted 1, got 2, at here)");
  const foreign = { [Symbol.for("layerfold.error")]: true, code: "X" };
  expect(isLayerfoldError(foreign, "X")).toBe(true);
  expect(isLayerfoldError(foreign, "Y")).toBe(false);
  expect(isLayerfoldError(new Error("no"))).toBe(false);
});

it("an aborted signal becomes an interruption", () => {
  expect(() => throwIfAborted(AbortSignal.abort())).toThrow(
    expect.objectContaining({ code: "INTERRUPTED", fault: "interrupted" }),
  );
  expect(() => throwIfAborted(undefined)).not.toThrow();
});

it("an error says where its where is", () => {
  const error = errorWithin(new LayerfoldError("X", "no", { wanted: "1", where: "row 3" }), "layer 2");
  expect(error).toMatchObject({ code: "X", reason: "no", where: "layer 2, row 3" });
  expect((error as Error).message).toBe("no (wanted 1, at layer 2, row 3)");
  expect(errorWithin(new LayerfoldError("X", "no"), "layer 2")).toMatchObject({ where: "layer 2" });
  const interruption = new LayerfoldError("INTERRUPTED", "interrupted", { fault: "interrupted" });
  expect(errorWithin(interruption, "layer 2")).toBe(interruption);
  const foreign = new TypeError("no");
  expect(errorWithin(foreign, "layer 2")).toBe(foreign);
});

it("an error without facts is its message; nothing but an error is one", () => {
  expect(new LayerfoldError("X", "no").message).toBe("no");
  const cause = new TypeError("why");
  expect(new LayerfoldError("X", "no", { cause }).cause).toBe(cause);
  for (const value of [null, undefined, "X", {}]) expect(isLayerfoldError(value)).toBe(false);
});

it.each([
  ["embedding", core.defineEmbedding],
  ["planner", core.definePlanner],
  ["quantizer", core.defineQuantizer],
  ["repair", core.defineRepair],
  ["similarity", core.defineSimilarity],
  ["strategy", core.defineStrategy],
  ["transform", core.defineWeightTransform],
])("a plug-in says that it is of kind %s", (kind, define) => {
  const made = { id: "x", summary: "does", optionsSchema: z.strictObject({}), create: () => ({ own: 1 }) };
  const factory = (define as unknown as (definition: typeof made) => () => Plugin)(made);
  expect(factory()).toEqual({ kind, id: "x", options: {}, own: 1 });
  expect({ ...factory }).toMatchObject({ kind, id: "x", summary: "does" });
});
