import { LayerfoldError, type RunContext, z } from "@layerfold/core";
import { jsonLines } from "./documents.js";
import { readTextFile } from "./text-file.js";

/** A multiple-choice question. */
export interface Question {
  readonly subject: string;
  readonly question: string;
  /** At least two. */
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly answer: number;
}

const schema = z
  .object({
    subject: z.string().default(""),
    question: z.string().min(1),
    choices: z.array(z.string()).min(2).max(26),
    answer: z.number().int().min(0),
  })
  .refine(({ answer, choices }) => answer < choices.length, { message: "no such choice", path: ["answer"] });

/**
 * Reads multiple-choice questions, one JSON object a line: `question`, `choices`, `answer` (an index from 0) and, if wanted, `subject`.
 * @throws TEXT_EMPTY, DOCUMENT_INVALID, QUESTION_INVALID naming line and field, and what `readTextFile` throws
 */
export async function readQuestions(file: string, report?: RunContext["report"]): Promise<Question[]> {
  const content = await readTextFile(file, { report });
  return jsonLines(content, file).map(({ value, where }) => {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const { message, path } = parsed.error.issues[0];
    throw new LayerfoldError("QUESTION_INVALID", message, {
      wanted: "question, choices (2 to 26) and answer (index of the right choice)",
      where: [where, ...path].join(", "),
    });
  });
}
