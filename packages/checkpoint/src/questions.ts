import { readFile } from "node:fs/promises";
import { LayerfoldError, z } from "@layerfold/core";
import { jsonLines } from "./documents.js";
import { fileError } from "./file-error.js";
import { requireRegularFile } from "./regular-file.js";

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
 * @throws FILE_MISSING, TEXT_EMPTY, DOCUMENT_INVALID, QUESTION_INVALID naming line and field
 */
export async function readQuestions(file: string): Promise<Question[]> {
  const content = await requireRegularFile(file)
    .then(() => readFile(file, "utf8"))
    .catch((error) => {
      throw fileError(error, file);
    });
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
