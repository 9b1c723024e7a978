import { expect, it } from "vitest";
import { logCsv } from "./quantization-log.js";

it("a module's name stays one field and text, whatever stands in it", () => {
  // RFC 4180 quotes; a leading ' keeps a spreadsheet from computing.
  const record = { layer: 0, module: "=a,b", bits: 4, groupSize: 32, loss: -0.5, seconds: 1.5 };
  expect(logCsv([record])).toBe(
    `layer,module,bits,groupSize,loss,relativeLoss,damping\n0,"'=a,b",4,32,-0.5,,\n`,
  );
});
