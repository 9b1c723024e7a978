import { checkOutputFolder } from "@layerfold/disk";
import { exportOnnx } from "@layerfold/graph";
import { inputPaths, modelFact, openModelCheckpoint, writeManifest } from "@layerfold/pipeline";
import { isQuantized, quantizedWeights } from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";

interface ExportOptions extends CommonOptions {
  readonly operator: "n-bits" | "qdq";
  readonly accuracyLevel: "0" | "4";
  readonly force?: boolean;
  readonly out: string;
}

export function exportCommand(signal: AbortSignal): Command {
  return command(
    "export",
    "Write one ONNX decoder with a key/value cache, as transformers.js and optimum lay it out.",
    "layerfold export models/foldling/checkpoint --out foldling-onnx",
  )
    .argument("<model>", "checkpoint folder, dense or quantised, or hf:org/name")
    .addOption(
      new Option("--operator <name>", "of quantised weights: MatMulNBits, or DequantizeLinear and MatMul")
        .choices(["n-bits", "qdq"])
        .default("n-bits"),
    )
    .addOption(
      new Option("--accuracy-level <level>", "of MatMulNBits: 0 = float32 products, 4 = faster int8 ones")
        .choices(["0", "4"])
        .default("4"),
    )
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "onnx/model.onnx, onnx/model.onnx_data, config.json and the tokenizer")
    .action(async (modelPath: string, options: ExportOptions) => {
      const run = createCommandRun(options, signal);
      run.settings.assertUsed();
      await checkOutputFolder(options.out, {
        force: options.force,
        inputs: inputPaths({ models: [modelPath] }),
      });
      const checkpoint = await openModelCheckpoint(modelPath, run, { packed: true });
      try {
        const { operator, force } = options;
        const weights = isQuantized(checkpoint)
          ? await quantizedWeights(checkpoint, run.ctx.report)
          : undefined;
        const accuracyLevel = options.accuracyLevel === "4" ? 4 : 0;
        const written = await exportOnnx(
          checkpoint,
          options.out,
          { quantizedWeights: weights, operator, accuracyLevel, force },
          run.ctx,
        );
        const model = await modelFact(modelPath, checkpoint);
        await writeManifest(options.out, { command: "export", arguments: options, model }, run);
        run.terminal.result(
          written,
          `${(written.weightBytes / 2 ** 20).toFixed(1)} MiB of weights → ${options.out}`,
        );
      } finally {
        await checkpoint.close();
      }
    });
}
