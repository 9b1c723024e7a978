import { type ChoiceItem, type EvaluationTask, isLayerfoldError } from "@layerfold/core";
import { type ConformanceCheck, ensure, identityCheck } from "./conformance.js";

export interface EvaluationTaskCheckOptions {
  /** Rows as the data set has them, at least one. */
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  /** Rows that must be refused, such as those without a label. */
  readonly refused?: readonly unknown[];
}

/**
 * The laws of an evaluation task of choices: every row becomes a context (or one for each choice), at least two choices and a right one among
 * them; a row's item does not depend on rows before it; rows stay untouched; what is no row, or lacks a field, is refused by
 * `TASK_ROW_INVALID` that says where.
 *
 * @param make - makes the task, e.g. `() => myTask`
 *
 * @example
 * ```ts
 * for (const { name, run } of evaluationTaskChecks(() => myTask, { rows: [{ question: "?", answers: ["a", "b"], right: 1 }] })) it(name, run);
 * ```
 */
export function evaluationTaskChecks(
  make: () => EvaluationTask,
  { rows, refused = [] }: EvaluationTaskCheckOptions,
): ConformanceCheck[] {
  const { id, summary } = make();
  const where = "rows.jsonl, line 3";
  const ensureRowRefused = (row: unknown, what: string) => {
    try {
      make().item(row, where);
    } catch (error) {
      ensure(
        isLayerfoldError(error, "TASK_ROW_INVALID"),
        `${id}: ${what} is refused by ${error} instead of TASK_ROW_INVALID`,
      );
      return ensure(
        error.where?.startsWith(where) === true,
        `${id}: ${what} is refused at "${error.where}", not at "${where}"`,
      );
    }
    ensure(false, `${id}: ${what} was taken for a row`);
  };
  return [
    identityCheck("task", make),
    {
      name: "has a summary of one line",
      async run() {
        ensure(
          typeof summary === "string" && /^\S.*$/.test(summary),
          `${id}: its summary is ${JSON.stringify(summary)}`,
        );
      },
    },
    {
      name: "makes of every row a context, choices, and which one is right",
      async run() {
        ensure(rows.length > 0, `${id}: no rows were given to try it on`);
        for (const row of rows) ensureItem(id, make().item(row, where));
      },
    },
    {
      name: "makes the same of a row, whatever came before it",
      async run() {
        const alone = rows.map((row) => JSON.stringify(make().item(row, where)));
        const one = make();
        const backwards = [...rows].reverse().map((row) => JSON.stringify(one.item(row, where)));
        ensure(
          alone.join("\n") === backwards.reverse().join("\n"),
          `${id}: an item depends on rows before it`,
        );
      },
    },
    {
      name: "leaves rows untouched",
      async run() {
        const before = JSON.stringify(rows);
        for (const row of rows) make().item(row, where);
        ensure(JSON.stringify(rows) === before, `${id}: a row was changed`);
      },
    },
    {
      name: "refuses what is no row, saying where",
      async run() {
        for (const row of [null, [], {}, "text", 7, true, ...refused])
          ensureRowRefused(row, JSON.stringify(row));
      },
    },
    {
      name: "takes a row that lacks a field for what it still says, or refuses it",
      async run() {
        for (const row of rows) {
          for (const field of Object.keys(row)) {
            const { [field]: _, ...rest } = row;
            try {
              ensureItem(id, make().item(rest, where));
            } catch (error) {
              ensure(
                isLayerfoldError(error, "TASK_ROW_INVALID"),
                `${id}: a row without ${field} fails with ${error}`,
              );
            }
          }
        }
      },
    },
  ];
}

function ensureItem(id: string, { context, choices, answer }: ChoiceItem): void {
  ensure(Array.isArray(choices) && choices.length >= 2, `${id}: an item of fewer than two choices`);
  ensure(
    choices.every((choice) => typeof choice === "string" && choice !== ""),
    `${id}: a choice is no text`,
  );
  const contexts = typeof context === "string" ? choices.map(() => context) : context;
  ensure(
    Array.isArray(contexts) &&
      contexts.length === choices.length &&
      contexts.every((text) => typeof text === "string"),
    `${id}: contexts are no text, or not as many as choices`,
  );
  ensure(
    Number.isInteger(answer) && answer >= 0 && answer < choices.length,
    `${id}: the answer ${answer} is no choice`,
  );
}
