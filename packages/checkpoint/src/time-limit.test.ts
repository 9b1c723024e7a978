import { LayerfoldError } from "@layerfold/core";
import { describe, expect, it } from "vitest";
import { withinTime } from "./time-limit.js";

const expired = () => new LayerfoldError("TOO_SLOW", "too slow");

describe("withinTime", () => {
  it.each<[string, () => unknown]>([
    [
      "a loop",
      () => {
        for (;;);
      },
    ],
    // Every way to cut 60 letters into runs is tried: 2^59 of them.
    ["a regular expression", () => /^(a+)+$/.test(`${"a".repeat(60)}b`)],
    ["one within another limit", () => withinTime(100, () => /^(a+)+$/.test(`${"a".repeat(60)}b`), expired)],
  ])("breaks off %s", (_, work) => {
    expect(() => withinTime(0.1, work, expired)).toThrow(expect.objectContaining({ code: "TOO_SLOW" }));
    expect(withinTime(1, () => 7, expired)).toBe(7);
  });

  it("passes on what the work gives or throws", () => {
    const error = new TypeError("mine");
    const given = { a: 1 };
    expect(withinTime(1, () => given, expired)).toBe(given);
    expect(() =>
      withinTime(
        1,
        () => {
          throw error;
        },
        expired,
      ),
    ).toThrow(error);
  });
});
