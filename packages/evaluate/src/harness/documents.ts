import { LayerfoldError } from "@layerfold/core";
import { fewshotSampler } from "./fewshot.js";
import { pythonSpace, pythonText, type Row, type Value } from "./python-text.js";
import type { TaskConfig } from "./task-config.js";
import { needsDelimiter, readFields, requireText, type TaskFields } from "./task-fields.js";

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
  const draw = count > 0 ? fewshotSampler(config, options.fewshotRows ?? [], count, fewshotSeed) : () => [];
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
  fields: TaskFields,
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
