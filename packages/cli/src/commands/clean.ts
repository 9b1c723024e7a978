import { removeStore } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function cleanCommand(signal: AbortSignal): Command {
  return command(
    "clean",
    "Free finished work that a run left (OUT.work, or what --store named); anything else is refused.",
    "layerfold clean folded.work",
  )
    .argument("<store>", "folder of finished work, or s3://BUCKET/PREFIX")
    .action(async (store: string, options: CommonOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const removed = await removeStore(store);
      run.terminal.result(
        removed,
        `${removed.tasks} tasks, ${(removed.bytes / 2 ** 20).toFixed(1)} MiB freed`,
      );
    });
}
