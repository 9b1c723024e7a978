import type { SimilarityMeasure } from "@layerfold/core";
import { expect, it } from "vitest";
import { alwaysAlike } from "./always-alike.test.fixture.js";
import { partMaker, partName } from "./make-part.js";

const own = alwaysAlike("own");

const make = (part: never, set: Record<string, unknown> = {}) =>
  partMaker(() => set)<SimilarityMeasure>("similarity", part);

it("takes an id, one with options, a factory or a plug-in, and options that are set go before a part's own", async () => {
  expect(await make("cosine" as never)).toMatchObject({ kind: "similarity", id: "cosine" });
  expect((await make({ id: "npib", options: { binCount: 9 } } as never)).options).toMatchObject({
    binCount: 9,
  });
  expect(
    (await make({ id: "npib", options: { binCount: 9 } } as never, { binCount: 11 })).options,
  ).toMatchObject({
    binCount: 11,
  });
  expect((await make(own as never, { value: 0.25 })).options).toEqual({ value: 0.25 });
  const made = own({ value: 1 });
  expect(await make(made as never)).toBe(made);
});

it("refuses what is no plug-in of the kind, and options for one that is made already", async () => {
  await expect(make({ kind: "planner", id: "x", options: {} } as never)).rejects.toMatchObject({
    code: "PLUGIN_MODULE",
  });
  await expect(make({ kind: "similarity", id: "x", options: {} } as never)).rejects.toMatchObject({
    code: "PLUGIN_MODULE",
    wanted: expect.stringContaining("compare()"),
  });
  await expect(make(own() as never, { value: 1 })).rejects.toMatchObject({ code: "OPTION_UNKNOWN" });
  await expect(make("cosin" as never)).rejects.toMatchObject({ code: "PLUGIN_UNKNOWN" });
});

it("makes the same part once", async () => {
  const maker = partMaker(() => ({}));
  const [a, b, c] = await Promise.all([
    maker("similarity", "npib"),
    maker("similarity", { id: "npib" }),
    maker("similarity", { id: "npib", options: { binCount: 9 } }),
  ]);
  expect(a).toBe(b);
  expect(c).not.toBe(a);
});

it("names parts by their id, a path's last name, and their options", () => {
  expect(partName("./a/mine.ts")).toBe("mine.ts");
  expect(partName({ id: "slerp", options: { ratio: 0.5, to: "a/b" } })).toBe('slerp(ratio=0.5,to="a-b")');
  expect(partName(own({ value: 1 }))).toBe("own");
});
