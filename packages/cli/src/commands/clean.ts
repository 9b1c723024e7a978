import { removeStore } from "@layerfold/pipeline";
import type { Command } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function cleanCommand(signal: AbortSignal): Command {
  return command(
    "clean",
    "Free a folder of finished work that a run left (OUT.work, or --store FOLDER); anything else is refused.",
    "layerfold clean folded.work",
  )
    .argument("<folder>", "folder of finished work")
    .action(async (folder: string, options: CommonOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const removed = await removeStore(folder);
      run.terminal.result(
        removed,
        `${removed.tasks} tasks, ${(removed.bytes / 2 ** 20).toFixed(1)} MiB freed`,
      );
    });
}
