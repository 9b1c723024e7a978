import type { BlockSpec, Role } from "@layerfold/core";
import type { GgufArchitecture } from "./gguf-architecture.js";

/** Where llama.cpp keeps a block's roles, under `blk.N.`. */
const parts: Readonly<Record<Role, string>> = {
  "norm.attention": "attn_norm",
  "norm.attention.post": "post_attention_norm",
  "norm.mlp": "ffn_norm",
  "norm.mlp.post": "post_ffw_norm",
  "attention.qkv": "attn_qkv",
  "attention.query": "attn_q",
  "attention.key": "attn_k",
  "attention.value": "attn_v",
  "attention.output": "attn_output",
  "attention.query_norm": "attn_q_norm",
  "attention.key_norm": "attn_k_norm",
  "mlp.gate": "ffn_gate",
  "mlp.up": "ffn_up",
  "mlp.down": "ffn_down",
  router: "ffn_gate_inp",
};

/** A tensor of a GGUF file that holds a role: all of it, or one of those that are stacked in it. */
export interface GgufPlace {
  readonly name: string;
  readonly expert?: number;
}

/** Where a role of a block is kept. */
export function ggufPlace(
  { parts: own }: GgufArchitecture,
  block: Pick<BlockSpec, "tensors">,
  layer: number,
  role: Role,
): GgufPlace {
  const bias = role.endsWith(".bias");
  const plain = bias ? role.slice(0, -".bias".length) : role;
  const [, expert, map] = /^experts\.(\d+)\.(\w+)$/.exec(plain) ?? [];
  const part = map ? `ffn_${map}_exps` : (own?.(block)[plain] ?? parts[plain]);
  // Mamba's A and D are no weights of a map.
  const suffix = part === "ssm_a" || part === "ssm_d" ? "" : bias ? ".bias" : ".weight";
  return { name: `blk.${layer}.${part}${suffix}`, ...(expert && { expert: Number(expert) }) };
}
