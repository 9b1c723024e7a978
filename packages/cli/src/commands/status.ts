import { statusOfStore } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { plainTable } from "../table.js";

/** Without a sign of life for so long, that is told of whoever makes something. */
const quietSeconds = 30;

export function statusCommand(signal: AbortSignal): Command {
  return command(
    "status",
    "Tell what is done, running, failed and missing in a store, and who is at it.",
    "layerfold status --store shared/grid",
  )
    .requiredOption("--store <location>", "the same that the run was given")
    .action(async ({ store, ...options }: CommonOptions & { readonly store: string }) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const status = await statusOfStore(store);
      run.terminal.result(status, describe(status));
    });
}

type Status = Awaited<ReturnType<typeof statusOfStore>>;

function describe({ location, users, stages, finished, running, failed }: Status): string {
  const asked = stages.flatMap(({ id, kinds }) =>
    kinds.map(({ kind, done, running, failed, missing }) => [
      ...[kind, id],
      ...[done, running, failed, missing].map(String),
    ]),
  );
  const stands = finished.map(({ kind, tasks, bytes, seconds }) => [
    ...[kind, `${tasks}`, (bytes / 2 ** 20).toFixed(1), seconds.toFixed(1)],
  ]);
  const who = ({ host, process }: { readonly host: string; readonly process: number }) =>
    `${host}, process ${process}`;
  return [
    users.length === 0
      ? `Nobody has ${location} open.`
      : `${location} is open in ${users.map(who).join("; ")}.`,
    asked.length === 0
      ? "Nothing is asked for."
      : plainTable(["asked for", "stage", "done", "running", "failed", "missing"], asked),
    stands.length === 0
      ? "Nothing is finished."
      : plainTable(["finished", "tasks", "MiB", "seconds"], stands),
    ...running.map((task) => {
      const { kind = "a task", digest, silentSeconds } = task;
      const silence = silentSeconds > quietSeconds ? `, silent for ${silentSeconds.toFixed(0)} s` : "";
      return `running: ${kind} ${digest.slice(0, 12)} on ${who(task)}${silence}`;
    }),
    ...failed.map((task) => {
      const { kind, digest, code, message, tries, final } = task;
      const often = tries === 1 ? "once" : `${tries} times`;
      return `failed ${often}${final ? "" : ", is tried again"}: ${kind} ${digest.slice(0, 12)} on ${who(task)}: ${code} ${message}`;
    }),
  ].join("\n");
}
