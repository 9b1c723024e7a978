/** Index of the largest logit, and the logarithm of the sum of all exponentials. */
export function logSumExp(logits: Float32Array): { best: number; logSum: number } {
  let best = 0;
  for (let v = 1; v < logits.length; v++) if (logits[v] > logits[best]) best = v;
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - logits[best]);
  return { best, logSum: logits[best] + Math.log(sum) };
}
