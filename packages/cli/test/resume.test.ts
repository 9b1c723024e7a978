import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { checkpoint, data } from "@layerfold/foldling";
import { seededRng } from "@layerfold/linalg";
import { mountedDisk } from "@layerfold/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { json, layerfold } from "./run-command.js";
import { startLayerfold } from "./start-layerfold.js";

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

writeFileSync(
  at("recipe.yaml"),
  JSON.stringify({
    ...{ model: checkpoint, calibration: { text: calibration, planning_tokens: 64 } },
    ...{ evaluate: { texts: [validation] }, methods: ["mka", "sleb"], layers: [15, 14] },
  }),
);

const commands: Readonly<Record<string, readonly string[]>> = {
  compress: [
    ...["compress", checkpoint, "--layers", "15,14", "--method", "sleb", "--repair", "channel-scale"],
    ...["--calibration", calibration, "--planning-tokens", "64", "--evaluate", validation],
  ],
  ablate: ["ablate", at("grid.yaml")],
  run: ["run", at("recipe.yaml")],
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
    ["run", kills || 1],
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

it.each(["compress", "ablate"])(
  "two equal commands at once end alike, and the work is done once: %s",
  async (name) => {
    const whole = await unbrokenRun(name);
    const out = at(`${name}-twice`);
    const command = [...commands[name], "--out", out];
    const both = [startLayerfold(...command), startLayerfold(...command)];
    const ended = await Promise.all(both.map((run) => run.ended));
    expect(ended.map(({ code, stderr }) => [code, code === 0 ? "" : stderr])).toEqual([
      [0, ""],
      [0, ""],
    ]);
    expect(bytesIn(out)).toEqual(whole.bytes);
    const { tasks: _, ...first } = ended[0].result;
    expect(ended[1].result).toMatchObject(first);
    const made = ended.map(({ result }) => result.tasks.made);
    expect(made[0] + made[1]).toBe(whole.made);
    expect(existsSync(`${out}.work`)).toBe(name === "ablate");
  },
);

/** Does something once a task of a kind is finished in a work folder, while a command runs. */
async function onceFinished(kind: string, work: string, does: () => void, ended: Promise<unknown>) {
  let over = false;
  const watch = async () => {
    while (!over && !(existsSync(join(work, "artefacts", kind)) && finishedIn(work) > 0)) await sleep(5);
    if (!over) does();
  };
  const watching = watch();
  await ended;
  over = true;
  await watching;
}

/** An unbroken run of `merge` on a disk of its own, since what it leaves does not hang on the place. */
const merge = (out: string) => json(...commands.merge, "--out", out);

describe("what was done stays, and the same command goes on", () => {
  it("after the disk ran full", async (context) => {
    const whole = await unbrokenRun("merge");
    const disk = mountedDisk("size=64m");
    if (!disk) return context.skip();
    try {
      const [out, work, full] = ["out", "out.work", "full"].map((name) => join(disk.folder, name));
      // The calibration's tokens are finished before the fold is written.
      const running = merge(out);
      const fill = () => {
        const { bavail, bsize } = statfsSync(disk.folder);
        writeFileSync(full, new Uint8Array(bavail * bsize));
      };
      await onceFinished("tokens", work, fill, running);
      const failed = await running;
      expect([failed.code, failed.error?.code]).toEqual([1, "DISK_FULL"]);
      expect(finishedIn(work)).toBe(1);
      rmSync(full);
      const { code, result } = await merge(out);
      expect([code, result.tasks]).toEqual([0, { made: whole.made - 1, found: 1 }]);
      expect(bytesIn(out)).toEqual(whole.bytes);
      expect(readdirSync(disk.folder)).toEqual(["out"]);
    } finally {
      disk.unmount();
    }
  });

  it("after the output became a mount point meanwhile", async (context) => {
    const whole = await unbrokenRun("merge");
    const probe = mountedDisk("size=1m");
    if (!probe) return context.skip();
    probe.unmount();
    const out = at("mounted");
    const running = merge(out);
    const mount = () => {
      mkdirSync(out);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", out]);
    };
    await onceFinished("tokens", `${out}.work`, mount, running);
    const { code, error } = await running;
    try {
      expect([code, error?.code]).toEqual([1, "FILE_BUSY"]);
      // The result is finished, and the command that is named puts it elsewhere.
      const [, command, finished] = /`((?:mv) (\S+)) PLACE`/.exec(error.message)!;
      expect(bytesIn(finished)).toEqual(whole.bytes);
      execFileSync("sh", ["-c", `${command} ${at("moved")}`]);
      expect(bytesIn(at("moved"))).toEqual(whole.bytes);
    } finally {
      execFileSync("umount", [out]);
    }
    const again = await merge(out);
    // The fold, which nothing else is asked for.
    expect([again.code, again.result.tasks]).toEqual([0, { made: 0, found: 1 }]);
    expect(bytesIn(out)).toEqual(whole.bytes);
    expect(existsSync(`${out}.work`)).toBe(false);
  });

  it("after a plug-in of one's own failed", async () => {
    const broken = at("broken");
    const strategy = at("strategy.mjs");
    writeFileSync(
      strategy,
      `import { existsSync } from "node:fs";
      export default { kind: "strategy", id: "mine", options: {}, merge(blocks) {
        if (blocks[0].layer === 12 && existsSync(${JSON.stringify(broken)})) throw new TypeError("not today");
        return { ...blocks[1], layer: blocks[0].layer };
      } };`,
    );
    const pairs = [...Array(14).keys()].map((i) => ({
      layers: i === 9 ? [9, 10] : i === 11 ? [12, 13] : [i + (i > 9 ? 1 : 0) + (i > 11 ? 1 : 0)],
    }));
    writeFileSync(at("pairs.json"), JSON.stringify({ version: 1, num_hidden_layers: 16, groups: pairs }));
    const command = (out: string) => [
      ...["compress", checkpoint, "--layers", "14", "--planner", at("pairs.json"), "--strategy", strategy],
      ...["--repair", "none", "--calibration", calibration, "--evaluate", validation, "--out", at(out)],
    ];
    const whole = await json(...command("own"));
    expect(whole.code).toBe(0);
    writeFileSync(broken, "");
    const failed = await json(...command("own-again"));
    expect(failed.error).toMatchObject({ code: "PLUGIN_FAILED", where: strategy });
    expect(failed.error.message).toContain("not today");
    rmSync(broken);
    const finished = finishedIn(at("own-again.work"));
    const resumed = await json(...command("own-again"));
    expect(resumed.code).toBe(0);
    expect(resumed.result.tasks.found).toBeGreaterThan(2);
    expect(resumed.result.tasks.made).toBeLessThanOrEqual(whole.result.tasks.made - finished);
    expect(bytesIn(at("own-again"))).toEqual(bytesIn(at("own")));
  });
});

describe("a work folder", () => {
  const told = (stderr: string) =>
    [...stderr.matchAll(/\b(ARTEFACT_DAMAGED|STORE_OTHER_VERSION)\b/g)].map(([code]) => code);

  it.each(["cut short", "changed"])("whose artefact was %s makes that again, and says so", async (how) => {
    const whole = await unbrokenRun("merge");
    const out = at(`damaged-${how}`);
    const command = [...commands.merge, "--keep-work", "--out", out];
    expect((await layerfold(...command)).code).toBe(0);
    rmSync(out, { recursive: true });
    const [file] = readdirSync(`${out}.work`, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith("model.safetensors"))
      .map((name) => join(`${out}.work`, name));
    if (how === "changed") {
      const bytes = readFileSync(file);
      bytes[bytes.length - 7] ^= 1;
      writeFileSync(file, bytes);
    } else truncateSync(file, 5000);
    const again = await layerfold(...command, "--json");
    expect([again.code, told(again.stderr)]).toEqual([0, ["ARTEFACT_DAMAGED"]]);
    expect(JSON.parse(again.stdout).tasks).toEqual({ made: 1, found: 1 });
    expect(bytesIn(out)).toEqual(whole.bytes);
    // Nothing was left to be said the next time.
    rmSync(out, { recursive: true });
    expect(told((await layerfold(...command)).stderr)).toEqual([]);
  });

  it("of another version stays as it is, and work begins anew beside it", async () => {
    const whole = await unbrokenRun("merge");
    const out = at("other");
    mkdirSync(`${out}.work`);
    writeFileSync(join(`${out}.work`, "layerfold-store.json"), '{"layout":0}\n');
    writeFileSync(join(`${out}.work`, "finished"), "long ago");
    const before = bytesIn(`${out}.work`);
    const { code, stderr } = await layerfold(...commands.merge, "--out", out);
    expect([code, told(stderr)]).toEqual([0, ["STORE_OTHER_VERSION"]]);
    expect(bytesIn(out)).toEqual(whole.bytes);
    expect(bytesIn(`${out}.work`)).toEqual(before);
    expect(existsSync(`${out}.work-2`)).toBe(false);
    expect((await json("clean", `${out}.work`)).error.code).toBe("STORE_OTHER_VERSION");
    expect(bytesIn(`${out}.work`)).toEqual(before);
  });

  it("that is none is neither used nor cleaned", async () => {
    const out = at("foreign");
    mkdirSync(`${out}.work`);
    writeFileSync(join(`${out}.work`, "thesis.tex"), "years of work");
    const used = await json(...commands.merge, "--out", out);
    const cleaned = await json("clean", `${out}.work`);
    for (const { code, error } of [used, cleaned]) {
      expect([code, error.code, error.got]).toEqual([2, "STORE_FOREIGN", "thesis.tex"]);
    }
    expect(readdirSync(`${out}.work`)).toEqual(["thesis.tex"]);
    expect((await json("clean", at("nowhere"))).error.code).toBe("FILE_MISSING");
  });

  it("is not cleaned while somebody is at work in it, and is when he is dead", async () => {
    const out = at("in-use");
    const running = startLayerfold(...commands.compress, "--out", out);
    while (finishedIn(`${out}.work`) === 0) await sleep(20);
    const { code, error } = await json("clean", `${out}.work`);
    expect([code, error.code]).toEqual([1, "STORE_IN_USE"]);
    running.kill();
    await running.ended;
    const finished = finishedIn(`${out}.work`);
    expect((await json("clean", `${out}.work`)).result.tasks).toBe(finished);
    expect(existsSync(`${out}.work`)).toBe(false);
  });
});
