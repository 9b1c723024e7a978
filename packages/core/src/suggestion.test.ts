import { expect, it } from "vitest";
import { suggestion } from "./suggestion.js";

it("suggests only what is near", () => {
  expect(suggestion("cosin", ["cosine", "angular"])).toContain("cosine");
  expect(suggestion("wasserstein", ["cosine", "angular"])).toBe("");
});

it("takes two changes for near, in longer names a third of their letters, and nothing for near to nothing", () => {
  expect(suggestion("cosyxe", ["cosine"])).toBe('. Did you mean "cosine"?');
  expect(suggestion("coxyze", ["cosine"])).toBe("");
  // Three of sixteen letters, and six of sixteen.
  expect(suggestion("contixxxus-block", ["contiguous-block"])).toContain("contiguous-block");
  expect(suggestion("contixxxxxxblock", ["contiguous-block"])).toBe("");
  expect(suggestion("cosine", [])).toBe("");
});
