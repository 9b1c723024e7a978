import { LayerfoldError } from "@layerfold/core";
import { isDigits, pythonSpace, pythonText, type Row, readPythonList, type Value } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";
import { readTemplate, type Template } from "./template.js";

/** What the fields of a task make of a row. */
export interface TaskFields {
  text(row: Row, where: string): Value;
  target(row: Row, where: string): Value;
  choices(row: Row, where: string): readonly string[];
  description(row: Row, where: string): string;
  /** What an answer begins with. */
  prefix(row: Row, where: string): string;
  counted(row: Row, where: string): string | undefined;
  example(row: Row, severalInputs: boolean, where: string): string;
}

/** @param columns - of the rows: a field that is the name of one stands for what is in it */
export function readFields(config: TaskConfig, columns: readonly string[]): TaskFields {
  const { fewshot_config: shown } = config;
  const hasChoices = config.doc_to_choice !== null && config.doc_to_choice !== undefined;
  const text = readField(config.doc_to_text, "doc_to_text", columns, hasChoices);
  const target = readField(config.doc_to_target, "doc_to_target", columns, hasChoices);
  const choices = readChoices(config.doc_to_choice, "doc_to_choice", columns, config.task);
  const described = readTemplate(config.description, "description");
  const prefix = readPrefix(config.gen_prefix, "gen_prefix", columns);
  const counted = config.doc_to_counted ? readTemplate(config.doc_to_counted, "doc_to_counted") : undefined;
  const own = {
    text: shown?.doc_to_text
      ? readField(shown.doc_to_text, "fewshot_config.doc_to_text", columns, hasChoices)
      : text,
    target: shown?.doc_to_target
      ? readField(shown.doc_to_target, "fewshot_config.doc_to_target", columns, hasChoices)
      : target,
    choices: shown?.doc_to_choice
      ? readChoices(shown.doc_to_choice, "fewshot_config.doc_to_choice", columns, config.task)
      : choices,
    prefix: shown?.gen_prefix ? readPrefix(shown.gen_prefix, "fewshot_config.gen_prefix", columns) : prefix,
    delimiter: shown?.target_delimiter ?? config.target_delimiter,
    end: shown?.fewshot_delimiter ?? config.fewshot_delimiter,
  };
  return {
    text,
    target,
    choices,
    prefix,
    description: (row, where) => pythonText(described.evaluate(row, where)),
    counted: (row, where) => counted && pythonText(counted.evaluate(row, where)),
    example(row, severalInputs, where) {
      const asked = own.text(row, where);
      const answer = own.target(row, where);
      const begin = own.prefix(row, where);
      const offered = hasChoices ? own.choices(row, where) : undefined;
      const question =
        severalInputs && offered ? offered[Number(asked)] : requireText(asked, "doc_to_text", where);
      const picked = !severalInputs && offered && typeof answer === "number" ? offered[answer] : undefined;
      const said = picked ?? (Array.isArray(answer) ? answer[0] : answer);
      if (said === "" || said === null) {
        return (
          question + (begin === "" ? "" : (needsDelimiter(question, begin) ? own.delimiter : "") + begin)
        );
      }
      const full = delimited(begin, pythonText(said), " ");
      const between = begin !== "" && !needsDelimiter(question, begin) ? "" : own.delimiter;
      return question + between + full + own.end;
    },
  };
}

type Read<T = Value> = (row: Row, where: string) => T;

/** A column, a template, or a value that is the same for all. */
function readField(
  field: string | number | readonly string[],
  name: string,
  columns: readonly string[],
  hasChoices: boolean,
): Read {
  if (typeof field !== "string") return () => field as Value;
  if (columns.includes(field)) return (row) => row[field];
  const template = readTemplate(field, name);
  return (row, where) => {
    const value = template.evaluate(row, where);
    const printed = pythonText(value);
    if (hasChoices && isDigits(printed)) return Number(printed);
    return (name.endsWith("doc_to_target") && readPythonList(printed)) || printed;
  };
}

function readChoices(
  field: TaskConfig["doc_to_choice"],
  name: string,
  columns: readonly string[],
  task: string,
): Read<readonly string[]> {
  const check = (value: Value, where: string): readonly string[] => {
    const list = typeof value === "string" ? readPythonList(value) : value;
    const good =
      Array.isArray(list) &&
      list.length > 1 &&
      list.every((choice) => typeof choice === "string" && choice !== "");
    if (good) return list as string[];
    throw new LayerfoldError("TASK_ROW_INVALID", `not a row of ${task}: ${name} gives no choices`, {
      wanted: "a list of at least two texts, none of them empty",
      got: pythonText(value).slice(0, 80),
      where,
    });
  };
  if (field === null || field === undefined) return () => [];
  if (typeof field !== "string") {
    const list = Array.isArray(field) ? field : Object.values(field);
    return (_, where) => check(list, where);
  }
  if (columns.includes(field)) return (row, where) => check(row[field], where);
  const template = readTemplate(field, name);
  return (row, where) => check(template.evaluate(row, where), where);
}

function readPrefix(
  field: string | null | undefined,
  name: string,
  columns: readonly string[],
): Read<string> {
  if (!field) return () => "";
  if (columns.includes(field)) return (row) => pythonText(row[field]);
  const template: Template = readTemplate(field, name);
  return (row, where) => pythonText(template.evaluate(row, where));
}

const space = new RegExp(`[${pythonSpace}]`);

export function needsDelimiter(before: string, after: string): boolean {
  return before !== "" && after !== "" && !space.test(before.at(-1)!) && !space.test(after[0]);
}

function delimited(before: string, after: string, delimiter: string): string {
  return before + (needsDelimiter(before, after) ? delimiter : "") + after;
}

/** @throws TASK_ROW_INVALID naming the field that gives no text */
export function requireText(value: Value, field: string, where: string): string {
  if (typeof value === "string") return value;
  throw new LayerfoldError("TASK_ROW_INVALID", `${field} gives no text`, {
    got: pythonText(value).slice(0, 80),
    where,
  });
}
