import { ggmlTypes, importGguf } from "@layerfold/checkpoint";
import { dataFact, writeManifest } from "@layerfold/pipeline";
import { type Command, Option } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

export function importCommand(signal: AbortSignal): Command {
  return command(
    "import",
    "Make an ordinary Hugging Face checkpoint of a GGUF file.",
    "layerfold import model.gguf --out model",
  )
    .argument("<file>", `GGUF file, with tensors in ${ggmlTypes.join(", ")}`)
    .addOption(
      new Option("--dtype <type>", "element type to write; float32 keeps every dequantised bit")
        .choices(["float32", "bfloat16", "float16"])
        .default("float32"),
    )
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "checkpoint to write")
    .action(
      async (
        file: string,
        options: CommonOptions & { dtype: "float32" | "bfloat16" | "float16"; force?: boolean; out: string },
      ) => {
        const run = createCommandRun(options, signal);
        run.settings.assertUsed();
        const { dtype, force } = options;
        const written = await importGguf(file, options.out, { dtype, force }, run.ctx);
        const model = await dataFact(file);
        await writeManifest(options.out, { command: "import", arguments: options, model }, run);
        run.terminal.result(
          written,
          `${written.parameterCount.toLocaleString("en")} parameters as ${dtype} → ${options.out}`,
        );
      },
    );
}
