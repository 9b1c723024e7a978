import { readTextFile } from "@layerfold/checkpoint";
import {
  type ChoiceItem,
  type EvaluationTask,
  LayerfoldError,
  parseJson,
  quoted,
  type RunContext,
  type z,
} from "@layerfold/core";

/**
 * Defines an evaluation task by the schema of its rows and the item that a row becomes. Of a row that does not fit, the error says which line and
 * field is wrong.
 */
export function defineTask<S extends z.ZodType>(definition: {
  readonly id: string;
  readonly summary: string;
  readonly row: S;
  readonly item: (row: z.output<S>) => ChoiceItem;
}): EvaluationTask {
  const { id, summary, row: schema, item } = definition;
  return {
    kind: "task",
    id,
    options: {},
    summary,
    item(row, where) {
      const parsed = schema.safeParse(row);
      if (!parsed.success) {
        const { message, path } = nearest(parsed.error.issues[0]);
        throw rowInvalid(id, message, valueAt(row, path), [where, ...path].join(", "));
      }
      const made = item(parsed.data);
      const { answer, choices } = made;
      if (answer >= 0 && answer < choices.length) return made;
      throw new LayerfoldError(
        "TASK_ROW_INVALID",
        `not a row of ${id}: the label names none of the choices`,
        {
          wanted: `one of ${choices.length} choices`,
          where,
        },
      );
    },
  };
}

function rowInvalid(id: string, message: string, got: unknown, where: string): LayerfoldError {
  return new LayerfoldError("TASK_ROW_INVALID", `not a row of ${id}: ${message}`, {
    got: quoted(got).slice(0, 80),
    where,
  });
}

/** Of a row that may have several layouts, what is wrong with the one that it comes nearest to. */
function nearest(issue: z.core.$ZodIssue): { message: string; path: PropertyKey[] } {
  if (issue.code !== "invalid_union" || issue.errors.length === 0) return issue;
  const [layout] = [...issue.errors].sort((a, b) => a.length - b.length);
  const { message, path } = nearest(layout[0]);
  return { message, path: [...issue.path, ...path] };
}

/** The part of a row that an issue is about. */
function valueAt(row: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce((value, key) => (value as Record<PropertyKey, unknown> | null)?.[key], row);
}

/** Reads a task's rows, one JSON object a line. @throws QUESTIONS_EMPTY, TASK_ROW_INVALID, and what `readTextFile` throws */
export async function readTask<Item>(
  task: Pick<EvaluationTask<Item>, "item">,
  file: string,
  report?: RunContext["report"],
): Promise<Item[]> {
  const content = await readTextFile(file, { report });
  const items = content.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const where = `${file}, line ${index + 1}`;
    let row: unknown;
    try {
      row = parseJson(line);
    } catch (cause) {
      throw new LayerfoldError("TASK_ROW_INVALID", "not JSON", { where, cause });
    }
    return [task.item(row, where)];
  });
  if (items.length === 0)
    throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question", { where: file });
  return items;
}
