import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { fuzz, reproduction } from "./campaign.js";
import { ReaderProcess } from "./reader-process.js";
import { targets } from "./targets/index.js";

const failures = process.env.LAYERFOLD_FUZZ_FAILURES ?? join(tmpdir(), "layerfold-fuzz");

/** Inputs for each target; those that open a session of ONNX Runtime for every input get fewer. */
const runs = (id: string) =>
  ["config", "weights", "quantized", "chat-template", "onnx", "hub", "gguf", "unfinished-layers"].includes(id)
    ? 60
    : 200;

describe("changed files", () => {
  const reader = new ReaderProcess({ deadline: 10_000, memory: 2 ** 31 });
  afterAll(() => reader.close());

  it.each(targets.map(({ id }) => id))("%s: a result or a coded error", async (id) => {
    const { tried, findings } = await fuzz(id, reader, { seed: 1, runs: runs(id) }, failures);
    const told = findings.map(
      (finding) => `${finding.what}\n  ${reproduction(finding)}\n  ${finding.detail}`,
    );
    expect(told).toEqual([]);
    expect(tried).toBe(runs(id));
  });
});

describe("the harness", () => {
  const reader = new ReaderProcess({ deadline: 1_000, memory: 2 ** 29 }, true);
  let folder: string;
  beforeAll(() => reader.targets());
  afterAll(() => reader.close());
  const make = async () => (folder = await mkdtemp(join(tmpdir(), "layerfold-probe-")));
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("takes a result and a coded error for what they are", async () => {
    const { findings, answers } = await fuzz("good", reader, { seed: 1, runs: 50 }, await make());
    expect(findings).toEqual([]);
    expect(answers.get("PROBE")).toBeGreaterThan(30);
  });

  it.each([
    ["hangs", "no answer"],
    ["stray", "nobody waited for Error"],
    ["dies", "the process died (3)"],
    ["escapes", "something was written outside its folder"],
  ])("sees a reader that %s", async (id, what) => {
    const { findings } = await fuzz(id, reader, { seed: 1, runs: 2 }, await make());
    expect(findings).toEqual([expect.objectContaining({ what: expect.stringContaining(what) })]);
  });

  it("sees a reader that hoards", async () => {
    // Half a gibibyte takes its time on a busy machine.
    const patient = new ReaderProcess({ deadline: 20_000, memory: 2 ** 29 }, true);
    try {
      const { findings } = await fuzz("hoards", patient, { seed: 1, runs: 2 }, await make());
      expect(findings).toEqual([
        expect.objectContaining({ what: expect.stringContaining("too much memory") }),
      ]);
    } finally {
      await patient.close();
    }
  });

  it("makes a failing input smaller, keeps it, and finds it again by its line", async () => {
    const { findings } = await fuzz("uncoded", reader, { seed: 1, runs: 400 }, await make());
    expect(findings).toHaveLength(1);
    const [found] = findings;
    expect(found.what).toContain("TypeError");
    const text = await readFile(join(found.folder, "a.json"), "utf8");
    expect(text).toContain("__proto__");
    const { seed, path } = found;
    const again = await fuzz("uncoded", reader, { seed, path }, join(folder, "again"));
    expect(await readFile(join(again.findings[0].folder, "a.json"), "utf8")).toBe(text);
  });
});
