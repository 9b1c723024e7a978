import { LayerfoldError } from "@layerfold/core";
import { pythonRandom } from "./python-random.js";
import { isDigits, pythonSpace, pythonText, type Row, readPythonList, type Value } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";
import { readTemplate, type Template } from "./template.js";

/** What a model is asked about a document. */
export type TaskRequest =
  | { readonly kind: "loglikelihood"; readonly context: string; readonly continuation: string }
  | { readonly kind: "rolling"; readonly text: string }
  | {
      readonly kind: "generate";
      readonly context: string;
      readonly until: readonly string[];
      readonly maxTokens: number;
    };

/** A document of a task, ready to be asked: plain JSON. */
export interface TaskDocument {
  /** Index in the split that is evaluated. */
  readonly id: number;
  readonly row: Row;
  /** What `doc_to_target` gave. */
  readonly target: Value;
  readonly requests: readonly TaskRequest[];
  /** Of a task with choices. */
  readonly choices?: readonly string[];
  /** Of a task with choices: index of the right one, or of those that are right. */
  readonly gold?: number | readonly number[];
  /** Of a rolling perplexity. */
  readonly counted?: { readonly words: number; readonly bytes: number };
  /** Where documents of several tasks stand together. */
  readonly subject?: string;
}

export interface PrepareOptions {
  /** Examples that stand before each document; default: as the task says. */
  readonly fewshot?: number | undefined;
  /** Seed that examples are drawn by; default 1234, the harness's. */
  readonly fewshotSeed?: number | undefined;
  /** The first so many documents; default: all. */
  readonly limit?: number | undefined;
  /** Rows of the split that examples come from; needed where there are examples. */
  readonly fewshotRows?: readonly Row[] | undefined;
  /** What rows are called in errors; default the task's name. */
  readonly where?: string | undefined;
}

/** The split that a task is evaluated on. @throws TASK_INVALID where it names none */
export function evaluatedSplit({ test_split, validation_split, task }: TaskConfig): string {
  const split = test_split ?? validation_split;
  if (split) return split;
  throw new LayerfoldError("TASK_INVALID", "a task needs the field test_split or validation_split", {
    where: task,
  });
}

/** Where a task's examples come from: a split, or rows in the file itself. */
export function fewshotSource(config: TaskConfig): {
  readonly split?: string;
  readonly rows?: readonly Row[];
} {
  const { fewshot_config, fewshot_split, training_split, validation_split, test_split } = config;
  const named = fewshot_config?.split ?? fewshot_split;
  if (named) return { split: named };
  if (fewshot_config?.samples) return { rows: fewshot_config.samples as readonly Row[] };
  const split = training_split ?? validation_split ?? test_split;
  return split ? { split } : {};
}

/**
 * Makes the documents of a task ready, as the harness's `ConfigurableTask` does.
 * @throws TASK_ROW_INVALID naming the document and the column, TASK_TEMPLATE_FAILED, TASK_TEMPLATE_SLOW, FEWSHOT_TOO_FEW
 */
export function prepareDocuments(
  config: TaskConfig,
  rows: readonly Row[],
  options: PrepareOptions = {},
): TaskDocument[] {
  const { limit = rows.length, fewshotSeed = 1234, where: source = config.task } = options;
  const count = options.fewshot ?? config.num_fewshot ?? 0;
  const fields = readFields(config, Object.keys(rows[0] ?? {}));
  const draw = count > 0 ? sampler(config, options.fewshotRows ?? [], count, fewshotSeed) : () => [];
  const first = rows[0];
  const severalInputs =
    first !== undefined && typeof fields.text(first, `${source}, document 0`) === "number";
  // Examples are mostly the same few.
  const known = new Map<Row, string>();
  const exampleOf = (example: Row, where: string) => {
    const text = known.get(example) ?? fields.example(example, severalInputs, where);
    known.set(example, text);
    return text;
  };
  return rows.slice(0, limit).map((row, id) => {
    const where = `${source}, document ${id}`;
    const examples = draw(row, where);
    const shown = examples.map((example, i) => exampleOf(example, `${where}, example ${i}`)).join("");
    const before = fields.description(row, where) + shown;
    return document({ id, row, where, before, severalInputs }, fields, config);
  });
}

interface Asked {
  readonly id: number;
  readonly row: Row;
  readonly where: string;
  /** Description and examples. */
  readonly before: string;
  /** The choices are what is asked about, and what goes on after them is the same. */
  readonly severalInputs: boolean;
}

function document(
  { id, row, where, before, severalInputs }: Asked,
  fields: Fields,
  config: TaskConfig,
): TaskDocument {
  const text = fields.text(row, where);
  const target = fields.target(row, where);
  const prefix = fields.prefix(row, where);
  const begun = (question: string, delimiter: string) =>
    before + question + (prefix === "" ? "" : (needsDelimiter(question, prefix) ? delimiter : "") + prefix);
  const common = { id, row, target };
  if (config.output_type === "loglikelihood_rolling") {
    const whole = requireText(target, "doc_to_target", where);
    const counted = fields.counted(row, where) ?? whole;
    return {
      ...common,
      requests: [{ kind: "rolling", text: whole }],
      counted: {
        words: counted.split(new RegExp(`[${pythonSpace}]+`)).length,
        bytes: Buffer.byteLength(counted),
      },
    };
  }
  if (config.output_type === "multiple_choice") {
    const choices = fields.choices(row, where);
    const delimiter = config.target_delimiter;
    const gold = rightChoices(severalInputs ? text : target, choices, config.task, where);
    const requests = choices.map((choice) => ({
      kind: "loglikelihood" as const,
      context: severalInputs ? begun(choice, "") : begun(requireText(text, "doc_to_text", where), delimiter),
      continuation: delimiter + (severalInputs ? pythonText(target) : choice),
    }));
    if (metricIs(config, "acc_mutual_info")) {
      requests.push(
        ...choices.map((choice) => ({
          kind: "loglikelihood" as const,
          context: "",
          continuation: delimiter + choice,
        })),
      );
    }
    return { ...common, choices, gold, requests };
  }
  const context = begun(requireText(text, "doc_to_text", where), config.target_delimiter);
  if (config.output_type === "loglikelihood") {
    const continuation = requireText(target, "doc_to_target", where);
    return { ...common, requests: [{ kind: "loglikelihood", context, continuation }] };
  }
  const given = config.generation_kwargs ?? {};
  const until = [given.until ?? config.fewshot_delimiter].flat();
  const maxTokens = given.max_gen_toks ?? given.max_new_tokens ?? 256;
  const choices = config.doc_to_choice ? fields.choices(row, where) : undefined;
  return {
    ...common,
    ...(choices && { choices }),
    requests: [{ kind: "generate", context, until, maxTokens }],
  };
}

function metricIs({ metric_list }: TaskConfig, name: string): boolean {
  return metric_list?.some(({ metric }) => metric === name) ?? false;
}

function requireText(value: Value, field: string, where: string): string {
  if (typeof value === "string") return value;
  throw new LayerfoldError("TASK_ROW_INVALID", `${field} gives no text`, {
    got: pythonText(value).slice(0, 80),
    where,
  });
}

/** @throws TASK_ROW_INVALID where an answer is none of the choices */
function rightChoices(
  gold: Value,
  choices: readonly string[],
  task: string,
  where: string,
): number | readonly number[] {
  const index = (one: Value): number => {
    const at = typeof one === "string" ? choices.indexOf(one) : typeof one === "boolean" ? Number(one) : one;
    if (typeof at === "number" && Number.isSafeInteger(at) && at >= 0 && at < choices.length) return at;
    throw new LayerfoldError(
      "TASK_ROW_INVALID",
      `not a row of ${task}: the label names none of the choices`,
      {
        wanted: `one of ${choices.length} choices`,
        got: pythonText(one).slice(0, 80),
        where,
      },
    );
  };
  return Array.isArray(gold) ? gold.map(index) : index(gold);
}

/** What the fields of a task make of a row. */
interface Fields {
  text(row: Row, where: string): Value;
  target(row: Row, where: string): Value;
  choices(row: Row, where: string): readonly string[];
  description(row: Row, where: string): string;
  /** What an answer begins with. */
  prefix(row: Row, where: string): string;
  counted(row: Row, where: string): string | undefined;
  example(row: Row, severalInputs: boolean, where: string): string;
}

function readFields(config: TaskConfig, columns: readonly string[]): Fields {
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

function needsDelimiter(before: string, after: string): boolean {
  return before !== "" && after !== "" && !space.test(before.at(-1)!) && !space.test(after[0]);
}

function delimited(before: string, after: string, delimiter: string): string {
  return before + (needsDelimiter(before, after) ? delimiter : "") + after;
}

/** Draws the examples of one document after the other. */
function sampler(
  config: TaskConfig,
  rows: readonly Row[],
  count: number,
  seed: number,
): (row: Row, where: string) => readonly Row[] {
  const { fewshot_config: shown } = config;
  const pool = shown?.fewshot_indices ? shown.fewshot_indices.map((index) => rows[index]) : rows;
  // As the harness tells whether a document may be among its own examples; none counts as equal to none.
  const sameSplit = (shown?.split ?? config.fewshot_split ?? null) === (config.test_split ?? null);
  const keys = new Map<Row, string>();
  const keyOf = (row: Row) => {
    const known = keys.get(row);
    if (known !== undefined) return known;
    const key = JSON.stringify(row);
    keys.set(row, key);
    return key;
  };
  const others = (row: Row, from: readonly Row[]) =>
    sameSplit ? from.filter((other) => keyOf(other) !== keyOf(row)) : from;
  const tooFew = (found: number, where: string) =>
    new LayerfoldError("FEWSHOT_TOO_FEW", "there are too few examples to show", {
      wanted: `${count}`,
      got: `${found}`,
      where,
    });
  if (shown?.sampler === "first_n") {
    return (row, where) => {
      const found = others(row, pool).slice(0, count);
      if (found.length < count) throw tooFew(found.length, where);
      return found;
    };
  }
  const random = pythonRandom(seed);
  return (row, where) => {
    const wanted = sameSplit ? count + 1 : count;
    if (pool.length < wanted) throw tooFew(pool.length, where);
    const drawn = others(
      row,
      random.sample(pool.length, wanted).map((index) => pool[index]),
    ).slice(0, count);
    if (drawn.length === count) return drawn;
    const left = others(row, pool);
    if (left.length < count) throw tooFew(left.length, where);
    return random.sample(left.length, count).map((index) => left[index]);
  };
}
