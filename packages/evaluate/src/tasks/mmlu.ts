import { basename } from "node:path";
import { readTextFile } from "@layerfold/checkpoint";
import { type ChoiceItem, LayerfoldError, type RunContext } from "@layerfold/core";
import { parse } from "csv-parse/sync";

export interface MmluOptions {
  /** The subject's development file, whose questions stand as answered examples before each question. */
  readonly examples?: string;
  /** How many of them; default 5. */
  readonly exampleCount?: number;
  readonly report?: RunContext["report"];
}

const letters = ["A", "B", "C", "D"] as const;

/**
 * Reads one subject of MMLU (Hendrycks et al. 2021, arXiv 2009.03300) from its CSV files (question, four choices, answer letter; no
 * heading). Prompts are those of the authors and of `mmlu` of lm-evaluation-harness; the choices are the letters.
 *
 * @throws TASK_ROW_INVALID naming the row, and what `readTextFile` throws
 */
export async function readMmlu(file: string, options: MmluOptions = {}): Promise<ChoiceItem[]> {
  const { examples, exampleCount = 5, report } = options;
  const subject = mmluSubject(file);
  const opening = `The following are multiple choice questions (with answers) about ${subject.replaceAll("_", " ")}.\n\n`;
  const shown = examples === undefined ? [] : (await readRows(examples, report)).slice(0, exampleCount);
  const before = opening + shown.map((row) => `${prompt(row)} ${letters[row.answer]}\n\n`).join("");
  return (await readRows(file, report)).map((row) => ({
    context: before + prompt(row),
    choices: letters,
    answer: row.answer,
    subject,
  }));
}

/** `anatomy` of `…/anatomy_test.csv`. */
export function mmluSubject(file: string): string {
  return basename(file).replace(/(_(test|dev|val))?\.csv(\.gz)?$/, "");
}

interface Row {
  readonly question: string;
  readonly choices: readonly string[];
  readonly answer: number;
}

function prompt({ question, choices }: Row): string {
  return `${question.trim()}\n${choices.map((choice, i) => `${letters[i]}. ${choice}`).join("\n")}\nAnswer:`;
}

async function readRows(file: string, report: RunContext["report"]): Promise<Row[]> {
  const content = await readTextFile(file, { report });
  let rows: string[][];
  try {
    rows = parse(content, { relax_column_count: true });
  } catch (cause) {
    throw new LayerfoldError("TASK_ROW_INVALID", `not CSV: ${(cause as Error).message}`, {
      where: file,
      cause,
    });
  }
  return rows.map((cells, index) => {
    const answer = letters.indexOf(cells[5] as (typeof letters)[number]);
    if (cells.length !== 6 || answer < 0) {
      throw new LayerfoldError("TASK_ROW_INVALID", "not a row of MMLU", {
        wanted: "question, four choices, answer letter A to D",
        got: cells.length === 6 ? `answer ${JSON.stringify(cells[5])}` : `${cells.length} cells`,
        where: `${file}, row ${index + 1}`,
      });
    }
    return { question: cells[0], choices: cells.slice(1, 5), answer };
  });
}
