import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const worker = fileURLToPath(new URL("../../test/fit-memory.mjs", import.meta.url));

it("fits and cuts back in less memory than two whole float64 matrices, of which inverse and factor alone are two", () => {
  const features = 5120;
  const printed = execFileSync(process.execPath, [worker, `${features}`, "float32"], { encoding: "utf8" });
  expect(Number(printed)).toBeLessThan(2 * 8 * features ** 2);
});
