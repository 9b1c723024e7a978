import { expect, it } from "vitest";
import { suggestion } from "./suggestion.js";

it("suggests only what is near", () => {
  expect(suggestion("cosin", ["cosine", "angular"])).toContain("cosine");
  expect(suggestion("wasserstein", ["cosine", "angular"])).toBe("");
});
