import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MatmulEngine, ReportEvent } from "@layerfold/core";
import {
  defineTask,
  type ExecutionContext,
  folderStore,
  jsonCodec,
  type Task,
  workerExecutor,
} from "@layerfold/tasks";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openPool } from "./slurm-pool.js";

// Programs that stand in for Slurm's: they note how they were called, and say what a file holds.
let root: string;
const before = { ...process.env };
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "layerfold-slurm-pool-"));
  await mkdir(join(root, "bin"));
  process.env.PATH = `${join(root, "bin")}:/usr/bin:/bin`;
  await program("scontrol", "echo 'MaxArraySize = 3'");
  await program("scancel", "");
  await program("squeue", `cat ${root}/queue 2>/dev/null || true`);
  // Numbers from 1 on; what it is given as the script, and what it is to do, lie in files.
  await program(
    "sbatch",
    `cat > /dev/null; n=$(grep -c ^sbatch ${root}/calls); [ ! -e ${root}/refuses-$n ] || { echo "sbatch: error: QOS limit" >&2; exit 1; }; echo $n`,
  );
});
afterEach(async () => {
  process.env = { ...before };
  await rm(root, { recursive: true, force: true });
});

async function program(name: string, text: string) {
  const path = join(root, "bin", name);
  await writeFile(path, `#!/bin/bash\necho "${name} $*" >> ${root}/calls\n${text}\n`);
  await chmod(path, 0o755);
}
const calls = async (name: string) =>
  (await readFile(join(root, "calls"), "utf8").catch(() => ""))
    .split("\n")
    .filter((line) => line.startsWith(`${name} `))
    .map((line) => line.slice(name.length + 1));

const number = defineTask({
  kind: "number",
  code: "1",
  codec: jsonCodec<number>(),
  run: async ({ value }: { value: number }) => value,
});
const numbers = (count: number) => Array.from({ length: count }, (_, value) => number({ value }));

async function run(tasks: readonly Task<number>[], ctx: Partial<ExecutionContext> = {}, options = {}) {
  const pool = await openPool({
    ...{ workers: 2, options: { poll: 0.01, ...options }, command: () => ["layerfold"] as const },
  });
  const executor = workerExecutor(pool);
  try {
    const store = await folderStore(join(root, "store"));
    return await executor.run(tasks, store, { engine: {} as MatmulEngine, ...ctx });
  } finally {
    await executor.close();
  }
}

it("without Slurm on the machine it says so", async () => {
  process.env.PATH = join(root, "nothing");
  await expect(run(numbers(1))).rejects.toMatchObject({ code: "SLURM_MISSING", fault: "environment" });
});

it("a refusal is told with what was submitted before it, which is cancelled", async () => {
  await writeFile(join(root, "refuses-3"), "");
  const error = await run(numbers(8)).catch((caught) => caught);
  expect(error).toMatchObject({ code: "SLURM_REFUSED", fault: "environment" });
  expect(error.message).toBe("sbatch: sbatch: error: QOS limit; submitted before: 1, 2; they are cancelled");
  expect((await calls("scancel"))[0]).toBe("--quiet 1 2");
});

it("where they cannot be cancelled it is said how to", async () => {
  await writeFile(join(root, "refuses-2"), "");
  await program("scancel", "exit 1");
  await expect(run(numbers(4))).rejects.toThrow(/submitted before: 1; cancel them with: scancel 1$/);
});

it("hands its options to sbatch", async () => {
  await writeFile(join(root, "refuses-2"), "");
  const options = {
    partition: "long",
    time: 90,
    memory: "4G",
    cpus: 2,
    account: "a",
    arguments: ["--qos=low"],
  };
  await run(numbers(4), {}, options).catch(() => undefined);
  const [first] = await calls("sbatch");
  expect(first.replace(/[0-9a-f]{16}/g, "STAGE").replaceAll(root, "")).toBe(
    "--parsable --job-name=layerfold-STAGE --array=0-2%2 --output=/store/logs/STAGE-%a.log --open-mode=append " +
      "--partition=long --account=a --time=90 --mem=4G --cpus-per-task=2 --requeue --signal=B:USR1@60 --qos=low",
  );
});

it("submits again what ended without a result, and gives up the third time", async () => {
  const reported: ReportEvent[] = [];
  await writeFile(join(root, "queue"), "1_0|NODE_FAIL\n1_1|RUNNING\n2_0|OUT_OF_MEMORY\n3_0|OUT_OF_MEMORY\n");
  const error = await run(numbers(2), { report: (event) => reported.push(event) }).catch((caught) => caught);
  expect(error).toMatchObject({ code: "WORKER_LOST", got: "OUT_OF_MEMORY", fault: "environment" });
  expect(error.message).toContain("3_0");
  const arrays = (await calls("sbatch")).map((call) => /--array=(\S+)/.exec(call)?.[1]);
  expect(arrays).toEqual(["0-1%2", "0%2", "0%2"]);
  const told = reported.flatMap((event) => (event.type === "diagnostic" ? [event.message] : []));
  expect(told.map((message) => /\((.*)\)/.exec(message)?.[1])).toEqual(["NODE_FAIL", "OUT_OF_MEMORY"]);
  expect((await calls("scancel"))[0]).toBe("--quiet 1 2 3");
});

it("waits while the cluster does not answer, and says so once", async () => {
  await program("squeue", 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1');
  const reported: ReportEvent[] = [];
  const stopped = new AbortController();
  const running = run(numbers(1), { signal: stopped.signal, report: (event) => reported.push(event) });
  running.catch(() => undefined);
  while ((await calls("squeue")).length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
  stopped.abort();
  await expect(running).rejects.toMatchObject({ code: "INTERRUPTED" });
  expect(
    reported.filter((event) => event.type === "diagnostic" && event.code === "SLURM_SILENT"),
  ).toHaveLength(1);
  expect((await calls("scancel"))[0]).toBe("--quiet 1");
});

it("takes no store in which jobs cannot log, nor no workers", async () => {
  await expect(openPool({ workers: 0, command: () => ["layerfold"] })).rejects.toMatchObject({
    code: "OPTION_INVALID",
  });
  const pool = await openPool({ command: () => ["layerfold"] });
  const store = { location: "s3://bucket/prefix" } as never;
  await expect(pool.begin({ id: "1", tasks: [] }, store, { changed() {} })).rejects.toThrow("executor.logs");
});
