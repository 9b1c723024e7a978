import { expect, it } from "vitest";
import { nameOrQuoted, quoted } from "./quoted.js";

it("quotes any value that a file can hold, and its absence", () => {
  expect(quoted({ a: [1, null] })).toBe('{"a":[1,null]}');
  expect(quoted(undefined)).toBe("nothing");
  expect(quoted(JSON.parse("[".repeat(50_000) + "]".repeat(50_000)))).toMatch(/too deeply/);
});

it("takes a name as it is, and quotes what is none, even what has no primitive value", () => {
  expect(nameOrQuoted("gptq")).toBe("gptq");
  expect(nameOrQuoted(4)).toBe("4");
  expect(nameOrQuoted({ toString: 1, valueOf: 1 })).toBe('{"toString":1,"valueOf":1}');
});
