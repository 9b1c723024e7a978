import { expect, it } from "vitest";
import { errorWithin, LayerfoldError } from "./error.js";

it("is one line of bounded length, whatever it quotes", () => {
  const error = new LayerfoldError("X", "no\r\nsuch\u2028name", {
    got: "a\0b",
    where: `/${"x".repeat(1e6)}/end.json`,
  });
  expect(error.reason).toBe("no\\u000d\\nsuch\\u2028name");
  expect(error.got).toBe("a\\u0000b");
  // 400 characters from either end, and " … " between: where a path leads is what tells it.
  expect(error.where).toHaveLength(803);
  expect(error.where?.endsWith("x/end.json")).toBe(true);
  expect(error.message).toBe(`${error.reason} (got ${error.got}, at ${error.where})`);
  // Said again within another place, nothing is spelled out twice.
  expect((errorWithin(error, "layer 2") as LayerfoldError).reason).toBe(error.reason);
});
