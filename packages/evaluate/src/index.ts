export type { Accuracy, Share } from "./accuracy.js";
export type { BatchOptions } from "./batch-budget.js";
export { type ChoiceItem, type ChoiceScores, choiceLikelihood } from "./choice-likelihood.js";
export { type Divergence, klToDense } from "./kl-to-dense.js";
export { choicePrompt, multipleChoice } from "./multiple-choice.js";
export { type Perplexity, perplexity } from "./perplexity.js";
export { rememberedLogits } from "./remembered-logits.js";
