import { hubSettings, pullModel } from "@layerfold/checkpoint";
import type { Command } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function pullCommand(signal: AbortSignal): Command {
  return command(
    "pull",
    "Download a checkpoint from the hub into its cache: resumable, the revision pinned, only the needed files.",
    "layerfold pull HuggingFaceTB/SmolLM2-135M",
  )
    .argument("<model>", "org/name or org/name@revision; HF_TOKEN, HF_HOME and HF_ENDPOINT are heeded")
    .action(async (model: string, options: CommonOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      const directory = await pullModel(model.replace(/^hf:/, ""), hubSettings(process.env), run.ctx);
      run.terminal.result({ directory }, directory);
    });
}
