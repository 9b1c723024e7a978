import { expect, it } from "vitest";
import { parseJson } from "./parse-json.js";

const lists = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const objects = (depth: number) => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;

it("is JSON.parse for what nests 256 levels deep at most", () => {
  for (const text of ['{"a":[1,null,"x",{"b":[[]]}]}', "7", '"[[["', "null", lists(256), objects(256)]) {
    expect(parseJson(text)).toEqual(JSON.parse(text));
  }
});

it.each([lists(257), objects(257), lists(100_000), "[", "{"])(
  "refuses what is deeper, or no JSON",
  (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  },
);
