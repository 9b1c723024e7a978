import { expect, it } from "vitest";
import { parsePooling, poolingName } from "./pooling.js";

it.each(["last", "mean", "all", "every:1", "every:16"])("reads and names %s", (text) => {
  expect(poolingName(parsePooling(text))).toBe(text);
});

it.each(["", "every", "every:0", "every:-2", "every:1.5", "first"])("refuses %j", (text) => {
  expect(() => parsePooling(text)).toThrow(expect.objectContaining({ code: "POOLING_UNKNOWN", got: text }));
});
