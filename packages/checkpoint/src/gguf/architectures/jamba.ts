import type { ModelConfig } from "../../family.js";
import { count, type GgufArchitecture, type GgufFacts, rmsEpsilon, sizes } from "../gguf-architecture.js";

const { num_key_value_heads: _, ...others } = sizes;

/** Mamba layers are those without key/value heads; layers with experts those with a router. */
function layersOf({ config, entry, has }: GgufFacts): ModelConfig {
  const heads = entry("attention.head_count_kv");
  const layers = Array.from({ length: Number(config.num_hidden_layers) }, (_, layer) => layer);
  const headsOf = (layer: number) => Number(Array.isArray(heads) ? heads[layer] : heads);
  const [attentionPeriod, attentionOffset] = ruleOf(layers.map((layer) => headsOf(layer) > 0));
  const [expertPeriod, expertOffset] = ruleOf(layers.map((layer) => has(`blk.${layer}.ffn_gate_inp.weight`)));
  return {
    num_key_value_heads: Math.max(...layers.map(headsOf)),
    attn_layer_period: attentionPeriod,
    attn_layer_offset: attentionOffset,
    expert_layer_period: expertPeriod,
    expert_layer_offset: expertOffset,
    mamba_expand: Number(config.mamba_d_inner) / Number(config.hidden_size),
    mamba_d_inner: undefined,
  };
}

/** The shortest period, and the offset in it, of the marked layers; what is not periodic does not fit the tensors afterwards. */
function ruleOf(marks: readonly boolean[]): [period: number, offset: number] {
  for (let period = 1; period <= marks.length; period++) {
    const offset = marks.indexOf(true);
    if (offset < 0) break;
    if (offset < period && marks.every((mark, layer) => mark === (layer % period === offset)))
      return [period, offset];
  }
  return [marks.length + 1, marks.length];
}

export const jamba: GgufArchitecture = {
  name: "jamba",
  modelType: "jamba",
  className: "JambaForCausalLM",
  experts: true,
  fields: {
    ...others,
    ...rmsEpsilon,
    num_experts: count("expert_count"),
    num_experts_per_tok: count("expert_used_count"),
    mamba_d_conv: count("ssm.conv_kernel"),
    mamba_d_inner: count("ssm.inner_size"),
    mamba_d_state: count("ssm.state_size"),
    mamba_dt_rank: count("ssm.time_step_rank"),
  },
  constants: { hidden_act: "silu" },
  presence: {},
  derived: layersOf,
  derivedFrom: ["attention.head_count_kv"],
  parts: () => ({
    "mamba.in": "ssm_in",
    "mamba.conv": "ssm_conv1d",
    "mamba.x": "ssm_x",
    "mamba.dt": "ssm_dt",
    "mamba.a_log": "ssm_a",
    "mamba.d": "ssm_d",
    "mamba.out": "ssm_out",
    "mamba.dt_norm": "ssm_dt_norm",
    "mamba.b_norm": "ssm_b_norm",
    "mamba.c_norm": "ssm_c_norm",
  }),
};
