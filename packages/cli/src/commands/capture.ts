import { capture } from "@layerfold/pipeline";
import { type Command, Option } from "commander";
import { command, memoryOption, withDevice } from "../command.js";
import { type CommonOptions, createCommandRun } from "../run.js";
import { type CalibrationFlags, withCalibration } from "./calibration-flags.js";

interface CaptureOptions extends CommonOptions, CalibrationFlags {
  readonly input?: string;
  readonly tap?: string;
  readonly tokenizer?: string;
  readonly pooling: string;
  readonly out: string;
  readonly force?: boolean;
}

export function captureCommand(signal: AbortSignal): Command {
  return withCalibration(
    withDevice(
      command(
        "capture",
        "Run a calibration text through the model and keep what every layer leaves in the residual stream.",
        "layerfold capture models/foldling/checkpoint --calibration models/foldling/data/calibration.jsonl --pooling last --out activations",
      ),
    ),
    "text to run",
  )
    .argument("<model>", "checkpoint folder, hf:org/name, or an ONNX decoder (.onnx)")
    .option("--input <file>", "token ids instead of a text: safetensors as for `layerfold trace`")
    .addOption(
      new Option(
        "--pooling <how>",
        "which tokens become samples: last (one per window or document), mean, every:k, all",
      ).default("last"),
    )
    .option(
      "--tap <name>",
      "ONNX only: the value that block l leaves in the residual stream, {layer} standing for l",
    )
    .option("--tokenizer <folder>", "where the tokenizer is (default: the model's folder)")
    .option("--force", "replace a folder that is not empty, if layerfold wrote all that is in it")
    .requiredOption("--out <folder>", "folder to write")
    .addOption(memoryOption())
    .action(async (model: string, options: CaptureOptions) => {
      const run = createCommandRun(options, signal);
      const { input, tap, tokenizer, pooling, out, force } = options;
      const { calibration, calibrationTokens, selfTemperature, window } = options;
      const { layers, statistics } = await capture(
        {
          ...{ model, input, tap, tokenizer, pooling, out, force },
          ...{ calibration, calibrationTokens, selfTemperature, window },
        },
        run,
      );
      const [samples, hidden] = layers[0].shape;
      run.terminal.result(
        { layers: layers.length, samples, hidden_size: hidden, tokens: statistics.tokenCount },
        `${layers.length} layers × ${samples} samples × ${hidden}, from ${statistics.tokenCount} tokens → ${out}`,
      );
    });
}
