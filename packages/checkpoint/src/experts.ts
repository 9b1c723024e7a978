import type { Activation, MoeSpec } from "@layerfold/core";
import type { BlockTensors } from "./block-tensors.js";
import type { ConfigReader } from "./config-reader.js";

/** Modules of a mixture of experts; `expert` names the three maps of one. */
export interface ExpertModules {
  readonly router: string;
  readonly expert: (index: number) => { readonly gate: string; readonly up: string; readonly down: string };
}

/** More experts than any model has (512 as of Qwen3-Next); each has tensors that are named one by one. */
const mostExperts = 4096;

/** Experts of a layer, at most 4096, and how many of them a token goes through. @throws CONFIG_INVALID */
export function expertCounts(
  c: ConfigReader,
  field: string,
  absent: { readonly experts: number; readonly perToken: number },
): Pick<MoeSpec, "expertCount" | "expertsPerToken"> {
  const expertCount = c.count(field, absent.experts, mostExperts);
  return { expertCount, expertsPerToken: c.count("num_experts_per_tok", absent.perToken, expertCount) };
}

/** Adds router and experts, each a gated MLP, and returns the spec. */
export function addExperts(
  block: BlockTensors,
  hiddenSize: number,
  spec: Omit<MoeSpec, "kind"> & { readonly activation: Activation },
  modules: ExpertModules,
): MoeSpec {
  const { expertCount, intermediateSize } = spec;
  block.linear("router", modules.router, expertCount, hiddenSize);
  for (let index = 0; index < expertCount; index++) {
    const { gate, up, down } = modules.expert(index);
    block.linear(`experts.${index}.gate`, gate, intermediateSize, hiddenSize);
    block.linear(`experts.${index}.up`, up, intermediateSize, hiddenSize);
    block.linear(`experts.${index}.down`, down, hiddenSize, intermediateSize);
  }
  return { kind: "moe", ...spec };
}
