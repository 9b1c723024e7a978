import { type GgufFileType, ggufFileTypes } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { checkOutputFolder } from "@layerfold/disk";
import { exportOnnx } from "@layerfold/graph";
import { exportGguf, inputPaths, modelFact, openModelCheckpoint, writeManifest } from "@layerfold/pipeline";
import { isQuantized, quantizedWeights } from "@layerfold/quantize";
import { type Command, Option } from "commander";
import { command } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface OnnxOptions {
  readonly operator?: "n-bits" | "qdq";
  readonly accuracyLevel?: "0" | "4";
  readonly force?: boolean;
}

interface GgufOptions extends CalibrationFlags {
  readonly type?: GgufFileType;
}

interface ExportOptions extends CommonOptions, OnnxOptions, GgufOptions {
  readonly target: "onnx" | "gguf";
  readonly out: string;
}

/** Flags that only one target has. */
const ownFlags: Readonly<
  Record<ExportOptions["target"], readonly (keyof OnnxOptions | keyof GgufOptions)[]>
> = {
  onnx: ["operator", "accuracyLevel", "force"],
  gguf: ["type", "calibration", "calibrationTokens", "selfTemperature", "window"],
};

export function exportCommand(signal: AbortSignal): Command {
  return withCalibration(
    command(
      "export",
      "Write a model for another runtime: one ONNX decoder with a key/value cache, or a GGUF file for llama.cpp.",
      "layerfold export models/foldling/checkpoint --target gguf --type q8_0 --out foldling.gguf",
    ),
    "gguf: text by whose activations quantised types weigh their errors (an importance matrix)",
  )
    .argument("<model>", "checkpoint folder, dense or quantised, or hf:org/name")
    .addOption(
      new Option(
        "--target <name>",
        "onnx: as transformers.js and optimum lay it out; gguf: for llama.cpp and what is built on it",
      )
        .choices(["onnx", "gguf"])
        .default("onnx"),
    )
    .addOption(
      new Option("--type <name>", "gguf: how weights are stored (default: f16)").choices(ggufFileTypes),
    )
    .addOption(
      new Option(
        "--operator <name>",
        "onnx: of quantised weights, MatMulNBits, or DequantizeLinear and MatMul (default: n-bits)",
      ).choices(["n-bits", "qdq"]),
    )
    .addOption(
      new Option(
        "--accuracy-level <level>",
        "onnx: of MatMulNBits, 0 = float32 products, 4 = faster int8 ones (default: 4)",
      ).choices(["0", "4"]),
    )
    .option("--force", "onnx: replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption(
      "--out <path>",
      "onnx: folder for onnx/model.onnx, onnx/model.onnx_data, config.json and the tokenizer; gguf: the file",
    )
    .action(async (model: string, options: ExportOptions) => {
      refuseOtherFlags(options);
      if (options.target === "gguf") await toGguf(model, options, signal);
      else await toOnnx(model, options, signal);
    });
}

/** @throws OPTION_INVALID for a flag that means nothing here */
function refuseOtherFlags(options: ExportOptions): void {
  const others = options.target === "gguf" ? ownFlags.onnx : ownFlags.gguf;
  const given = others.find((name) => options[name] !== undefined);
  if (given === undefined) return;
  throw new LayerfoldError("OPTION_INVALID", `this option means nothing for the target ${options.target}`, {
    wanted: `an option of this target, or --target ${options.target === "gguf" ? "onnx" : "gguf"}`,
    got: `--${given.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
  });
}

async function toGguf(model: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const run = createCommandRun(options, signal);
  run.settings.assertUsed();
  const { type, calibration, calibrationTokens, selfTemperature, window, out } = options;
  const given = { calibration, calibrationTokens, selfTemperature, window };
  const written = await exportGguf({ model, type, ...given, out }, run);
  const types = Object.entries(written.types).map(([name, count]) => `${count} ${name}`);
  run.terminal.result(
    written,
    `${(written.bytes / 2 ** 20).toFixed(1)} MiB, tensors: ${types.join(", ")} → ${out}`,
  );
}

async function toOnnx(modelPath: string, options: ExportOptions, signal: AbortSignal): Promise<void> {
  const { target, operator = "n-bits", accuracyLevel = "4", force, out } = options;
  const run = createCommandRun(options, signal);
  run.settings.assertUsed();
  await checkOutputFolder(out, { force, inputs: inputPaths({ models: [modelPath] }) });
  const checkpoint = await openModelCheckpoint(modelPath, run, { packed: true });
  try {
    const weights = isQuantized(checkpoint) ? await quantizedWeights(checkpoint, run.ctx.report) : undefined;
    const written = await exportOnnx(
      checkpoint,
      out,
      { quantizedWeights: weights, operator, accuracyLevel: accuracyLevel === "4" ? 4 : 0, force },
      run.ctx,
    );
    const model = await modelFact(modelPath, checkpoint);
    const given = { target, operator, accuracyLevel };
    await writeManifest(out, { command: "export", arguments: given, model }, run);
    run.terminal.result(written, `${(written.weightBytes / 2 ** 20).toFixed(1)} MiB of weights → ${out}`);
  } finally {
    await checkpoint.close();
  }
}
