import { type Command, InvalidArgumentError } from "commander";
import { integer } from "../command.js";

/** The options of every command that looks at calibration text. */
export interface CalibrationFlags {
  readonly calibration?: string;
  readonly calibrationTokens?: number | "auto";
  readonly selfTemperature?: number;
  readonly window?: number;
}

/**
 * Adds them to a command.
 * @param use - what the text is for
 * @param sized - whether the command can find out by itself how many tokens it needs
 */
export function withCalibration(command: Command, use: string, sized = false): Command {
  return command
    .option(
      "--calibration <texts>",
      `${use}: .txt (one stream) or .jsonl (one document a line), or several with shares, such as a.txt:0.5,b.jsonl[200:]:0.5 ([from:to] = rows, tokens of a stream); piqa:rows.jsonl = a benchmark's rows with their right answers, piqa+wrong:rows.jsonl with all; self = the model's own text`,
    )
    .option(
      "--calibration-tokens <tokens>",
      `use only so many calibration tokens, spread evenly over the texts${sized ? "; auto = as many as the repair gains by" : ""}`,
      (text: string) => (sized && text === "auto" ? "auto" : integer(2)(text)),
    )
    .option("--self-temperature <number>", "at which self draws its text (default: 1)", positive)
    .option("--window <tokens>", "longest token sequence (default: 512, or the model's context)", integer(2));
}

/** What a planner that judges plans by their loss may weigh beside the calibration text. */
export interface QuestionFlags {
  readonly calibrationQuestions?: string;
  readonly questionWeight?: number;
  readonly recallWeight?: number;
  readonly planningTokens?: number;
}

/** Adds them to a command that plans. */
export function withQuestions(command: Command): Command {
  return command
    .option(
      "--planning-tokens <tokens>",
      "calibration tokens that planners try plans on (default: 16384); their time grows with it",
      integer(2),
    )
    .option(
      "--calibration-questions <file>",
      "multiple-choice questions that planners which try plans weigh beside the text: FILE or FILE[from:to]",
    )
    .option(
      "--question-weight <number>",
      "weight of the answers' mean loss beside the text's (default: 1)",
      positive,
    )
    .option(
      "--recall-weight <number>",
      "weight of the mean loss of tokens that stood in their window before, for planners that try plans (default: the method's, else 0)",
      notNegative,
    );
}

function notNegative(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("wanted a number of at least 0.");
}

function positive(text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("wanted a number above 0.");
}
