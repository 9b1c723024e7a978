import type { Activation } from "@layerfold/core";
import type { ConfigReader } from "./config-reader.js";

const activations: Record<string, Activation> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_python: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_accurate: "gelu_tanh",
  relu: "relu",
  relu2: "relu_squared",
  quick_gelu: "quick_gelu",
};

/** The activation that a config field names. @throws CONFIG_INVALID naming those that are known */
export function activationOf(config: ConfigReader, field: string, fallback?: string): Activation {
  const activation = activations[config.string(field, fallback)];
  if (!activation) throw config.invalid(field, `one of ${Object.keys(activations).join(", ")}`);
  return activation;
}
