import type { EvaluationRequest } from "../evaluation/evaluation-set.js";
import type { WorkbenchRequest } from "../stages/open-workbench.js";
import type { Recipe } from "./recipe-schema.js";

type Calibration = Exclude<Recipe["calibration"], string | string[] | undefined>;
type Evaluation = Exclude<Recipe["evaluate"], string | string[] | undefined>;

/** Its calibration as a mapping, with the texts as one string; undefined where there is none. */
export function calibrationOf({ calibration }: Recipe): (Calibration & { text: string }) | undefined {
  if (calibration === undefined) return undefined;
  const whole =
    typeof calibration === "string" || Array.isArray(calibration) ? { text: calibration } : calibration;
  return { ...whole, text: [whole.text].flat().join(",") };
}

/** What models are judged on as a mapping, with the texts as a list; undefined where there is nothing. */
export function evaluationOf({
  evaluate,
}: Recipe): (Omit<Evaluation, "texts"> & { texts?: string[] }) | undefined {
  if (evaluate === undefined) return undefined;
  const whole = typeof evaluate === "string" || Array.isArray(evaluate) ? { texts: evaluate } : evaluate;
  const { texts, ...others } = whole;
  return texts === undefined ? others : { ...whole, texts: [texts].flat() };
}

/** The same as the stages take it. */
export function evaluationRequest(recipe: Recipe): EvaluationRequest {
  const evaluation = evaluationOf(recipe);
  if (evaluation === undefined) return {};
  const { texts, questions, tasks, window, stride, max_tokens, begin_token } = evaluation;
  return {
    ...{ texts, questions, tasks, window, stride },
    maxTokens: max_tokens,
    beginToken: begin_token,
  };
}

/** What a workbench is made of, and what planners which try plans weigh. */
export function workbenchRequest(recipe: Recipe): WorkbenchRequest & {
  readonly calibration?: string | undefined;
  readonly calibrationQuestions?: string | undefined;
  readonly questionWeight?: number | undefined;
  readonly recallWeight?: number | undefined;
} {
  const given = calibrationOf(recipe);
  const allowOverlap = evaluationOf(recipe)?.allow_overlap;
  if (given === undefined) return { allowOverlap };
  return {
    calibration: given.text,
    calibrationTokens: given.tokens,
    window: given.window,
    selfTemperature: given.self_temperature,
    calibrationQuestions: given.questions,
    questionWeight: given.question_weight,
    recallWeight: given.recall_weight,
    planningTokens: given.planning_tokens,
    pooling: given.pooling,
    allowOverlap,
  };
}
