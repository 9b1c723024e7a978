import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LayerfoldError } from "@layerfold/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createRun } from "./run.js";
import { keptResults, resumable, type Workplace } from "./unfinished.js";

const run = createRun({ quiet: true });
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "unfinished-"));
});
afterEach(() => rm(folder, { recursive: true }));

it("keeps a result by what it depends on, numbers that JSON has no name for included", async () => {
  let made = 0;
  const make = async () => ({ at: ++made, values: Float32Array.of(1, Number.NaN), most: Infinity });
  const known = keptResults(folder, ["model"]);
  const first = await known(["a"], make);
  expect(await known(["a"], make)).toEqual(first);
  expect((await known(["b"], make)).at).toBe(2);
  expect((await keptResults(folder, ["model"])(["a"], make)).at).toBe(1);
  expect((await keptResults(folder, ["other"])(["a"], make)).at).toBe(3);
});

it("makes a result again whose file is damaged", async () => {
  let made = 0;
  const known = keptResults(folder, []);
  const get = () => known("a", async () => ({ at: ++made, values: new Float32Array(100) }));
  await get();
  const [name] = await readdir(folder);
  const whole = await readFile(join(folder, name));
  for (const damaged of [
    whole.subarray(0, 40),
    Buffer.from("x"),
    whole.map((byte, i) => (i === 200 ? byte ^ 1 : byte)),
  ]) {
    await writeFile(join(folder, name), damaged);
    expect(await get()).toEqual({ at: made, values: new Float32Array(100) });
  }
  expect(made).toBe(4);
});

describe("resumable", () => {
  const interrupted = new LayerfoldError("INTERRUPTED", "interrupted", { fault: "interrupted" });
  const work = (identity: unknown, does: (place: Workplace) => Promise<unknown>) =>
    resumable(join(folder, "out"), identity, does, run);
  const count = async ({ known, resumed }: Workplace) => [
    resumed,
    await known("n", async () => Math.random()),
  ];

  it("goes on after an interruption with the same work, and with no other", async () => {
    let before: unknown;
    const broken = (identity: unknown) =>
      work(identity, async (place) => {
        before = (await count(place))[1];
        throw interrupted;
      });
    await expect(broken("mine")).rejects.toBe(interrupted);
    expect(await readdir(folder)).toEqual(["out.unfinished"]);
    expect(await work("mine", count)).toEqual([true, before]);
    expect(await readdir(folder)).toEqual([]);

    await expect(broken("mine")).rejects.toBe(interrupted);
    const [resumed, other] = (await work("another", count)) as unknown[];
    expect([resumed, other === before]).toEqual([false, false]);
  });

  it("leaves nothing after an error, which would come again", async () => {
    const failed = work("mine", () => Promise.reject(new LayerfoldError("PLAN_INVALID", "wrong")));
    await expect(failed).rejects.toMatchObject({ code: "PLAN_INVALID" });
    expect(await readdir(folder)).toEqual([]);
  });

  it("keeps what is done when the machine failed, or something stands in the output's way", async () => {
    for (const [code, fault] of [
      ["DISK_FULL", "environment"],
      ["OUTPUT_EXISTS", "input"],
    ] as const) {
      const failed = work("mine", async ({ known }) => {
        await known("n", async () => code);
        throw new LayerfoldError(code, "failed", { fault });
      });
      await expect(failed).rejects.toMatchObject({ code });
      expect(await work("mine", ({ known }) => known("n", async () => "made anew"))).toBe(code);
    }
  });

  it("never removes what it did not make", async () => {
    await mkdir(join(folder, "out.unfinished"));
    await writeFile(join(folder, "out.unfinished", "letter.txt"), "");
    await expect(work("mine", count)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    expect(await readdir(join(folder, "out.unfinished"))).toEqual(["letter.txt"]);
    // The name of our own file alone proves nothing, and among our own files others may stand.
    await rename(join(folder, "out.unfinished", "letter.txt"), join(folder, "out.unfinished", "run"));
    await expect(work("mine", count)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await rm(join(folder, "out.unfinished"), { recursive: true });
    await expect(work("mine", () => Promise.reject(interrupted))).rejects.toBe(interrupted);
    await writeFile(join(folder, "out.unfinished", "letter.txt"), "");
    await expect(work("another", count)).rejects.toMatchObject({ code: "OUTPUT_EXISTS", got: "letter.txt" });
  });

  it("without an output keeps nothing", async () => {
    let place = "";
    const broken = resumable(
      undefined,
      "mine",
      async ({ folder }) => {
        place = folder;
        throw interrupted;
      },
      run,
    );
    await expect(broken).rejects.toBe(interrupted);
    await expect(readdir(place)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
