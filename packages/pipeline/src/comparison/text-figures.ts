import type { TokenSequence } from "@layerfold/checkpoint";
import { LayerfoldError, type RunContext } from "@layerfold/core";
import { compareFigure } from "@layerfold/evaluate";
import type { Execution } from "@layerfold/graph";
import { textMeasure } from "../stages/measure.js";
import type { TaskRunner } from "../task-runner.js";
import type { MeasuredText } from "../tasks/measure.js";
import type { ModelInput } from "../tasks/stored-model.js";
import type { ComparedFigure } from "./compared-figure.js";

/** A text as every model is given it. */
export interface ComparedText {
  /** File name and part. */
  readonly name: string;
  readonly sequences: readonly TokenSequence[];
}

const textMetrics = ["perplexity", "kl_divergence", "top1_agreement"];

/** The figures that texts will have. */
export function textFigureNames(texts: readonly string[]): string[] {
  return texts.flatMap((text) => textMetrics.map((metric) => `${metric}(${text})`));
}

/**
 * Whether two models read a text as the same tokens in the same windows: else neither perplexities nor divergences speak of the same.
 * @throws TOKENS_DIFFER naming the first window that differs
 */
export function requireSameTokens(
  text: string,
  first: readonly TokenSequence[],
  other: readonly TokenSequence[],
  model: string,
): void {
  for (let i = 0; i < Math.max(first.length, other.length); i++) {
    const [a, b] = [first[i], other[i]];
    const same =
      a?.ids.length === b?.ids.length &&
      a.scoredFrom === b.scoredFrom &&
      a.ids.every((id, k) => id === b.ids[k]);
    if (same) continue;
    throw new LayerfoldError("TOKENS_DIFFER", "the models do not read the text as the same tokens", {
      wanted: `the first model's tokenizer (${first.length} windows)`,
      got: `${other.length} windows, of which number ${i} is the first that differs`,
      where: `${model}, ${text}`,
    });
  }
}

/**
 * Perplexity on texts, and how far the other models' predictions are from the first's.
 * @param models - the first is the one that the others are held against
 * @throws what measuring throws
 */
export async function compareTexts(
  models: readonly ModelInput[],
  texts: readonly ComparedText[],
  execution: Execution,
  runner: TaskRunner,
  { rng }: Pick<RunContext, "rng">,
): Promise<ComparedFigure[]> {
  const [reference] = models;
  const measured = await runner.run(
    texts.flatMap(({ sequences }) =>
      models.map((model, i) =>
        textMeasure({ model, dense: i === 0 ? undefined : reference }, sequences, execution),
      ),
    ),
  );
  return texts.flatMap(({ name }, t) => {
    const [first, ...others] = measured.slice(t * models.length, (t + 1) * models.length);
    const common = { of: name, filter: "none", count: first.window_tokens.length, unit: "windows" as const };
    const paired = others.map((other) =>
      compareFigure(
        [{ aggregation: "weighted_perplexity", first: windowValues(first), second: windowValues(other) }],
        rng.fork(`perplexity(${name})`),
      ),
    );
    const against = (metric: string, higher: boolean, of: (other: MeasuredText) => number | null) => ({
      ...common,
      figure: `${metric}(${name})`,
      metric,
      higher_is_better: higher,
      first: null,
      others: others.map((other) => ({
        value: of(other) ?? Number.NaN,
        difference: null,
        ratio: null,
        method: null,
      })),
    });
    return [
      {
        ...common,
        figure: `perplexity(${name})`,
        metric: "perplexity",
        higher_is_better: false,
        first: first.perplexity ?? Number.NaN,
        others: paired.map(({ second, difference, ratio, method }) => ({
          value: second,
          difference,
          ratio,
          method,
        })),
      },
      against("kl_divergence", false, (other) => other.kl_to_dense),
      against("top1_agreement", true, (other) => other.top1_agreement),
    ];
  });
}

/** [windows] log-likelihood and tokens. A loss that is not finite came back from JSON as null. */
function windowValues({ window_losses: losses, window_tokens: tokens }: MeasuredText) {
  return losses.map((loss, i) => [-((loss as number | null) ?? Number.NaN), tokens[i]] as const);
}
