import type { PairedFigure } from "@layerfold/evaluate";

/** One figure of every model. What is not finite is null in JSON. */
export interface ComparedFigure {
  /** `METRIC(NAME)`, or `METRIC(NAME,FILTER)` where answers are filtered: what gates call it. */
  readonly figure: string;
  readonly metric: string;
  /** Task, group or text. */
  readonly of: string;
  /** "none" where answers are taken as they are. */
  readonly filter: string;
  readonly higher_is_better: boolean | null;
  /** Documents, or windows of a text. */
  readonly count: number;
  readonly unit: "documents" | "windows";
  /** The first model's; null: the figure is itself measured against the first. */
  readonly first: number | null;
  /** [models − 1] in their order. */
  readonly others: readonly ComparedValue[];
}

/** The same figure of another model, held against the first's. */
export type ComparedValue = { readonly value: number } & (
  | Pick<PairedFigure, "difference" | "ratio" | "method" | "answers">
  | { readonly difference: null; readonly ratio: null; readonly method: null; readonly answers?: undefined }
);

/** Puts figures of one other model each together. They have the same figures in the same order. */
export function joinFigures(models: readonly (readonly ComparedFigure[])[]): ComparedFigure[] {
  const [first = [], ...rest] = models;
  return first.map((figure, i) => ({
    ...figure,
    others: [figure, ...rest.map((other) => other[i])].flatMap(({ others }) => others),
  }));
}
