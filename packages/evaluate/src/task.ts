import { readFile } from "node:fs/promises";
import { LayerfoldError, z } from "@layerfold/core";
import type { ChoiceItem } from "./choice-likelihood.js";

/** A benchmark as data: what its rows hold, and the prompt and choices that a row becomes. */
export interface Task<Item = ChoiceItem> {
  readonly id: string;
  readonly summary: string;
  /** @throws TASK_ROW_INVALID saying where and what */
  item(row: unknown, where: string): Item;
}

/** Defines a task by the schema of its rows and the item that a row becomes. */
export function defineTask<S extends z.ZodType>(definition: {
  readonly id: string;
  readonly summary: string;
  readonly row: S;
  readonly item: (row: z.output<S>) => ChoiceItem;
}): Task {
  const { id, summary, row: schema, item } = definition;
  return {
    id,
    summary,
    item(row, where) {
      const parsed = schema.safeParse(row);
      if (!parsed.success) {
        const { message, path } = parsed.error.issues[0];
        throw new LayerfoldError("TASK_ROW_INVALID", `not a row of ${id}: ${message}`, {
          where: [where, ...path].join(", "),
        });
      }
      return item(parsed.data);
    },
  };
}

/** Reads a task's rows, one JSON object a line. @throws FILE_MISSING, QUESTIONS_EMPTY, TASK_ROW_INVALID */
export async function readTask<Item>(task: Task<Item>, file: string): Promise<Item[]> {
  const content = await readFile(file, "utf8").catch((cause) => {
    throw new LayerfoldError("FILE_MISSING", "cannot read the task's rows", { where: file, cause });
  });
  const items = content.split("\n").flatMap((line, index) => {
    if (line.trim() === "") return [];
    const where = `${file}, line ${index + 1}`;
    let row: unknown;
    try {
      row = JSON.parse(line);
    } catch (cause) {
      throw new LayerfoldError("TASK_ROW_INVALID", "not JSON", { where, cause });
    }
    return [task.item(row, where)];
  });
  if (items.length === 0)
    throw new LayerfoldError("QUESTIONS_EMPTY", "there is no question", { where: file });
  return items;
}

/**
 * A question with choices, as the hub has it (`choices.text`, `choices.label`, `answerKey`) or flat (`choices`, `answer` as an index);
 * comes out flat.
 */
export const choiceRow = z
  .union([
    z.object({
      choices: z.object({ text: z.array(z.string()).min(2), label: z.array(z.string()) }),
      answerKey: z.string(),
    }),
    z.object({ choices: z.array(z.string()).min(2), answer: z.number().int().min(0) }),
  ])
  .transform((row) =>
    "answer" in row
      ? { choices: row.choices, answer: row.answer }
      : { choices: row.choices.text, answer: row.choices.label.indexOf(row.answerKey) },
  )
  .refine(({ choices, answer }) => answer >= 0 && answer < choices.length, {
    message: "the answer is none of the choices",
  });
