import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRng } from "@layerfold/linalg";
import { afterAll, describe, expect, it } from "vitest";
import { foldling } from "../src/foldling.js";
import { startLayerfold } from "./start-layerfold.js";

const { checkpoint, data } = foldling();
const scratch = mkdtempSync(join(tmpdir(), "layerfold-resume-"));
const at = (name: string) => join(scratch, name);
afterAll(() => rmSync(scratch, { recursive: true }));

const calibration = `${join(data, "calibration.jsonl")}[0:6]`;
const validation = `${join(data, "validation.jsonl")}[0:2]`;
writeFileSync(
  at("grid.yaml"),
  JSON.stringify({
    ...{ model: checkpoint, calibration, evaluate: validation, measures: ["cosine"], layers: [15] },
    ...{
      planners: ["lowest-influence"],
      strategies: ["weighted", "drop"],
      repairs: ["none", "channel-scale"],
    },
  }),
);
const groups = Array.from({ length: 14 }, (_, i) => ({
  layers: i === 10 ? [10, 11, 12] : [i < 10 ? i : i + 2],
}));
writeFileSync(at("plan.json"), JSON.stringify({ version: 1, num_hidden_layers: 16, groups }));

const commands: Readonly<Record<string, readonly string[]>> = {
  compress: [
    ...["compress", checkpoint, "--layers", "15,14", "--method", "sleb", "--repair", "channel-scale"],
    ...["--calibration", calibration, "--planning-tokens", "64", "--evaluate", validation],
  ],
  ablate: ["ablate", at("grid.yaml")],
  merge: [
    ...["merge", checkpoint, "--plan", at("plan.json"), "--strategy", "weighted", "--repair", "reconstruct"],
    ...["--calibration", calibration],
  ],
  quantize: ["quantize", checkpoint, "--scheme", "gptq-w4g32", "--calibration", calibration],
};

/** Every file of a folder with the checksum of its bytes. */
function bytesIn(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).sort();
  return Object.fromEntries(
    files
      .filter((name) => statSync(join(folder, name)).isFile())
      .map((name) => [
        name,
        createHash("sha256")
          .update(readFileSync(join(folder, name)))
          .digest("hex"),
      ]),
  );
}

/** Artefacts that stand in a work folder. */
function finishedIn(work: string): number {
  if (!existsSync(work)) return 0;
  return readdirSync(work, { recursive: true, encoding: "utf8" }).filter((name) =>
    /^artefacts\/[^/]+\/[^/]+\/artefact\.json$/.test(name.replaceAll("\\", "/")),
  ).length;
}

/** An unbroken run of each command, once: what it leaves, what it made, and how long that took. */
const unbroken = new Map<
  string,
  Promise<{ bytes: Record<string, string>; made: number; milliseconds: number }>
>();
function unbrokenRun(name: string) {
  const run = async () => {
    const startedAt = performance.now();
    const { code, result, stderr } = await startLayerfold(...commands[name], "--out", at(name)).ended;
    expect([code, stderr]).toEqual([0, expect.any(String)]);
    expect(result.tasks.found).toBe(0);
    const milliseconds = performance.now() - startedAt;
    return { bytes: bytesIn(at(name)), made: result.tasks.made as number, milliseconds };
  };
  const known = unbroken.get(name) ?? run();
  unbroken.set(name, known);
  return known;
}

/** `LAYERFOLD_KILLS=20` for as many moments of every command; in the suite a few. */
const kills = Number(process.env.LAYERFOLD_KILLS ?? 0);

describe("killed at a random moment, the same command goes on to the same bytes", () => {
  it.each([
    ["compress", kills || 2],
    ["ablate", kills || 1],
    ["merge", kills],
    ["quantize", kills],
  ])("%s", async (name, times) => {
    if (times === 0) return;
    const whole = await unbrokenRun(name);
    const rng = seededRng(7).fork(name);
    for (let i = 0; i < times; i++) {
      const out = at(`${name}-${i}`);
      const command = [...commands[name], "--out", out];
      const share = rng.uniform();
      const dying = startLayerfold(...command);
      await Promise.race([sleep(share * whole.milliseconds), dying.ended]);
      dying.kill();
      const { code } = await dying.ended;
      const finished = finishedIn(`${out}.work`);
      const where = `${name}, moment ${share.toFixed(3)} of ${Math.round(whole.milliseconds)} ms, ${finished} tasks finished`;
      // It may have been done: then all stands, and nothing is left to be gone on with.
      const done = existsSync(out) && !existsSync(`${out}.work`);
      if (!done) {
        const resumed = await startLayerfold(...command).ended;
        expect([where, resumed.code, resumed.stderr]).toEqual([where, 0, expect.any(String)]);
        const { made, found } = resumed.result.tasks;
        if (kills) console.log(`${where}: exit ${code}, then ${made} made, ${found} found`);
        // Of what was finished nothing is made again.
        expect([where, made + finished <= whole.made]).toEqual([where, true]);
        if (finished > 0) expect([where, found > 0]).toEqual([where, true]);
      } else if (kills) console.log(`${where}: exit ${code}, done`);
      expect([where, bytesIn(out)]).toEqual([where, whole.bytes]);
      if (name !== "ablate") expect(existsSync(`${out}.work`)).toBe(false);
    }
  });
});
