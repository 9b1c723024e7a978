import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { sealValue, unsealValue } from "./sealed-value.js";

const value = { n: 1.5, rows: [1, null], map: new Map([["a", Float32Array.of(1, 2)]]) };

it("gives back what was sealed", () => {
  expect(unsealValue(sealValue(value))).toEqual(value);
});

it("takes no bytes that were changed, cut off or never sealed", () => {
  const sealed = sealValue(value);
  for (let at = 0; at < sealed.length; at++) {
    const changed = Uint8Array.from(sealed);
    changed[at] ^= 1;
    expect(unsealValue(changed)).toBeUndefined();
    expect(unsealValue(sealed.subarray(0, at))).toBeUndefined();
  }
});

it("takes none that another version of Node serialised in a way of its own", () => {
  const foreign = Uint8Array.of(0xff, 0xfe, 1);
  const seal = createHash("sha256").update(foreign).digest();
  expect(unsealValue(Buffer.concat([seal, foreign]))).toBeUndefined();
});
