/** A recipe with every key, commented; what need not be said is commented out. */
export const recipeTemplate = `# yaml-language-server: $schema=./recipe.schema.json
# A layerfold recipe. \`layerfold validate\` checks it, \`layerfold run\` runs it. Paths are relative to this file.

# Checkpoint folder, or hf:org/name[@revision].
model: ./my-model
# Of everything random.
seed: 0
# How models run: whole, as one graph with all weights in memory, or block by block; default: as the memory allows.
# execution: blocks

# Text that methods look at. \`calibration: a.txt\` alone will do.
calibration:
  # One text, or several with the shares that they have of the tokens. [from:to] is a part: rows of a .jsonl, tokens of a .txt.
  # piqa:rows.jsonl gives a benchmark's rows with their right answers; self is text of the model's own.
  text: [calibration.txt:0.7, "more.jsonl[200:]:0.3"]
  # window: 512             # longest token sequence
  # self_temperature: 1     # at which self draws its text
  # questions: q.jsonl      # planners that try plans weigh their answers beside the text,
  # question_weight: 1      # by so much
  # recall_weight: 0        # and tokens that stood in their window before by so much
  # planning_tokens: 16384  # that plans are tried on
  # pooling: every:16       # samples of every layer: last, mean, every:k, all
  # Tokens of all texts together; auto: as many as the repair gains by.
  tokens: 16384

# What every model is judged on. \`evaluate: test.txt\` alone will do.
evaluate:
  # questions: test-questions.jsonl
  # tasks: [arc_easy:arc.jsonl, piqa:piqa.jsonl]
  # window: 512
  # stride: 512
  # max_tokens: 8192        # of each text
  # begin_token: auto       # always, never
  # allow_overlap: false    # measure although judged text stands in the calibration text
  # Single figures are those of the first text.
  texts: [test.txt]

# The grid: every method at every depth. A method is a preset, a preset with other parts, or parts of its own.
methods:
  - layerfold
  - shortgpt
  - { method: sleb, strategy: slerp, repair: reconstruct }
  # - { name: mine, planner: ./my-planner.ts, strategy: weighted, repair: { id: reconstruct, options: { ridge: 0.01 } } }
# Lists in the stead of methods (every combination is a row), or beside them (that part of each is replaced):
# planners: [best-adjacent-pair, lowest-influence]
# strategies: [weighted, drop]
# repairs: [none, reconstruct]
# measures: [npib, cosine]
# embeddings: [diffusion-map]

# Layers that remain; or the shares of them that go:
layers: [24, 20]
# ratios: [0.125, 0.25]

# Quantise the dense model and every fold too:
# quantize: [gptq-w4g128]
# embedding_bits: 8

# Ways in which every plan is carried out: fold (as the method does), dropped, dropped + repair, merged, merged + repair.
rows: [fold, dropped]

# Options of all plug-ins of a kind, as --set has them:
# options: { embedding: { alpha: 0.5 }, planner: { largestGroup: 2 } }

# Where models run: cpu, webgpu or cuda; --device goes before it.
# device: webgpu
# allow_fallback: false     # let what the device has no kernel for run on the CPU

# What is written: results (results.json, report.html, plans), ablation (ablation.csv, …) or quality (quality.md: does merging beat dropping?).
report: results
# checkpoints: true         # the folded models too (with results)
output: ./layerfold-out
`;
