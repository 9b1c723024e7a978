import { expect, it } from "vitest";
import { quoted } from "./quoted.js";

it("quotes any value that a file can hold, and its absence", () => {
  expect(quoted({ a: [1, null] })).toBe('{"a":[1,null]}');
  expect(quoted(undefined)).toBe("nothing");
  expect(quoted(JSON.parse("[".repeat(50_000) + "]".repeat(50_000)))).toMatch(/too deeply/);
});
