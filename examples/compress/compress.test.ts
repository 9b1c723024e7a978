import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkpoint, data } from "@layerfold/foldling";
import { main } from "layerfold";
import { expect, it } from "vitest";
import { calibration, foldFoldling } from "./compress.js";

it("gives the rows of the command line", async () => {
  const folder = await mkdtemp(join(tmpdir(), "example-compress-"));
  try {
    const { rows } = await foldFoldling(join(folder, "called"));
    const code = await main([
      ...["compress", checkpoint, "--layers", "14", "--method", "mka", "--seed", "1", "--quiet"],
      ...["--calibration", calibration],
      ...["--evaluate", `${join(data, "validation.jsonl")}[0:20]`],
      ...["--out", join(folder, "commanded")],
    ]);
    expect(code).toBe(0);
    const results = (name: string) => readFile(join(folder, name, "results.json"), "utf8");
    expect(JSON.parse(await results("commanded")).rows).toEqual(rows);
    expect(await results("called")).toBe(await results("commanded"));
    expect(rows.map(({ label }) => label)).toEqual(["dense", "mka, 14 layers", "  merely dropped"]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
