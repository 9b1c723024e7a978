import type { Role } from "@layerfold/core";

/** Where llama.cpp keeps a block's roles, under `blk.N.`. */
const parts: Record<Role, string> = {
  "norm.attention": "attn_norm",
  "norm.mlp": "ffn_norm",
  "attention.query": "attn_q",
  "attention.key": "attn_k",
  "attention.value": "attn_v",
  "attention.output": "attn_output",
  "attention.query_norm": "attn_q_norm",
  "attention.key_norm": "attn_k_norm",
  "mlp.gate": "ffn_gate",
  "mlp.up": "ffn_up",
  "mlp.down": "ffn_down",
};

/** GGUF name of a block's tensor; roles are those of an architecture that `configOfGguf` knows. */
export function ggufName(layer: number, role: Role): string {
  const bias = role.endsWith(".bias");
  const part = parts[bias ? role.slice(0, -".bias".length) : role];
  return `blk.${layer}.${part}.${bias ? "bias" : "weight"}`;
}
