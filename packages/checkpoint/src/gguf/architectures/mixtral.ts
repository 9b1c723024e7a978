import { count, type GgufArchitecture } from "../gguf-architecture.js";
import { llama } from "./llama.js";

/** What llama.cpp calls a Llama with experts. */
export const mixtral: GgufArchitecture = {
  ...llama,
  modelType: "mixtral",
  className: "MixtralForCausalLM",
  experts: true,
  fields: {
    ...llama.fields,
    num_local_experts: count("expert_count"),
    num_experts_per_tok: count("expert_used_count"),
  },
  constants: { ...llama.constants, sliding_window: null },
  presence: {},
};
