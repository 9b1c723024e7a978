import { LayerfoldError, quoted, suggestion, z } from "@layerfold/core";
import { aggregationNames, metricDefaults, metricNames } from "./metric-names.js";

/** A Python function that a task file names by `!function`. */
export class PythonFunction {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

const value: z.ZodType<Value> = z.lazy(() =>
  z.union([z.null(), z.boolean(), z.number(), z.string(), z.array(value), z.record(z.string(), value)]),
);
type Value = null | boolean | number | string | readonly Value[] | { readonly [name: string]: Value };
const row = z.record(z.string(), value);
const split = z.string().nullish();
const template = z.string();
const choices = z.union([z.string(), z.array(z.string()), z.record(z.string(), z.string())]);

const metric = z.strictObject({
  metric: z.string(),
  aggregation: z.string().optional(),
  higher_is_better: z.boolean().optional(),
  regexes_to_ignore: z.array(z.string()).nullish(),
  ignore_case: z.boolean().optional(),
  ignore_punctuation: z.boolean().optional(),
  ignore_numbers: z.boolean().optional(),
  weight_by_size: z.boolean().optional().describe("not used, as in the harness"),
});

const filter = z.strictObject({
  name: z.string(),
  filter: z
    .array(
      z.strictObject({
        function: z.string(),
        regex_pattern: z.string().optional(),
        group_select: z.number().int().optional(),
        fallback: z.string().optional(),
        k: z.number().int().min(1).optional(),
        mapping_dict: z.record(z.string(), z.string()).optional(),
        default_value: z.string().nullish(),
      }),
    )
    .min(1),
});

const schema = z.strictObject({
  task: z.string().min(1).describe("name"),
  task_alias: z.string().optional().describe("name in tables"),
  tag: z
    .union([z.string(), z.array(z.string())])
    .nullish()
    .describe("names under which several tasks are asked for together"),
  dataset_path: z
    .string()
    .nullish()
    .describe("data set on the hub; its name is one that a folder of data is searched for"),
  dataset_name: z.string().nullish().describe("configuration of the data set"),
  dataset_kwargs: z
    .looseObject({ column_names: z.array(z.string()).optional() })
    .nullish()
    .describe("column_names: of a CSV file without a heading; all else is for the harness's own loader"),
  training_split: split,
  validation_split: split,
  test_split: split,
  fewshot_split: split,
  output_type: z
    .enum(["multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until"])
    .default("generate_until"),
  doc_to_text: z.union([template, z.number().int()]).default(""),
  doc_to_target: z.union([template, z.number().int(), z.array(z.string())]),
  doc_to_choice: choices.nullish(),
  doc_to_counted: template
    .nullish()
    .describe(
      "an addition to the harness: the text whose words and bytes a rolling perplexity counts; default doc_to_target",
    ),
  description: template.default(""),
  target_delimiter: z.string().default(" "),
  fewshot_delimiter: z.string().default("\n\n"),
  num_fewshot: z.number().int().min(0).nullish(),
  fewshot_config: z
    .strictObject({
      sampler: z.enum(["default", "first_n"]).default("default"),
      split,
      samples: z.array(row).nullish(),
      fewshot_indices: z.array(z.number().int().min(0)).nullish(),
      doc_to_text: template.nullish(),
      doc_to_choice: choices.nullish(),
      doc_to_target: template.nullish(),
      gen_prefix: template.nullish(),
      fewshot_delimiter: z.string().nullish(),
      target_delimiter: z.string().nullish(),
    })
    .nullish(),
  metric_list: z.array(metric).min(1).nullish(),
  generation_kwargs: z
    .strictObject({
      until: z.union([z.string(), z.array(z.string())]).optional(),
      do_sample: z.boolean().optional(),
      temperature: z.number().optional(),
      top_p: z.number().optional().describe("not used where answers are greedy"),
      top_k: z.number().optional().describe("not used where answers are greedy"),
      max_gen_toks: z.number().int().min(1).optional(),
      max_new_tokens: z.number().int().min(1).optional(),
    })
    .nullish(),
  repeats: z.number().int().default(1),
  filter_list: z.array(filter).min(1).nullish(),
  should_decontaminate: z.boolean().optional().describe("not used"),
  doc_to_decontamination_query: z.string().nullish().describe("not used"),
  gen_prefix: template.nullish(),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

/** A task as lm-evaluation-harness 0.4 describes one, with every default filled in. */
export type TaskConfig = z.output<typeof schema>;
export type Metric = NonNullable<TaskConfig["metric_list"]>[number] & {
  readonly aggregation: string;
  readonly higher_is_better: boolean;
};

/** Code of the harness, which a data file cannot hold. */
const codeFields = ["process_docs", "process_results", "custom_dataset", "use_prompt", "class"];
const otherMedia = ["doc_to_image", "doc_to_audio"];

/**
 * Reads the fields of a task file.
 * @throws TASK_FIELD_UNSUPPORTED naming the field that cannot be expressed, TASK_INVALID naming one that is wrong
 */
export function readTaskConfig(fields: Readonly<Record<string, unknown>>, where: string): TaskConfig {
  const unsupported = (field: string, reason: string) =>
    new LayerfoldError("TASK_FIELD_UNSUPPORTED", `the task's field "${field}" ${reason}`, {
      where,
      got: quoted(fields[field.split(".")[0]]).slice(0, 80),
    });
  for (const [field, given] of Object.entries(fields)) {
    const code = functionIn(given);
    if (code) throw unsupported(field, `is a Python function (${code}); wanted a template`);
    if (given === null || given === undefined) continue;
    if (codeFields.includes(field)) throw unsupported(field, "is code, which a task file cannot hold here");
    if (otherMedia.includes(field)) throw unsupported(field, "asks for what is no text");
  }
  if (fields.unsafe_code === true)
    throw unsupported("unsafe_code", "runs what a model wrote, which nothing here does");
  const { unsafe_code: _, ...rest } = fields;
  const known = Object.keys(schema.shape);
  const strange = Object.keys(rest).find((field) => !known.includes(field));
  if (strange !== undefined) {
    throw unsupported(strange, `is not known${suggestion(strange, known)}`);
  }
  const parsed = schema.safeParse(
    Object.fromEntries(Object.entries(rest).filter(([, given]) => given !== null && given !== undefined)),
  );
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const { message, path } = issue;
    if (issue.code === "unrecognized_keys") {
      throw unsupported([...path, issue.keys[0]].join("."), "is not known");
    }
    throw new LayerfoldError("TASK_INVALID", `a task's field is wrong: ${message}`, {
      where: [where, path.join(".")].join(", "),
    });
  }
  const config = parsed.data;
  if (config.repeats !== 1)
    throw unsupported("repeats", "asks for several answers; greedy ones are all alike");
  if (config.generation_kwargs?.do_sample) {
    throw unsupported("generation_kwargs.do_sample", "draws answers at random; here they are greedy");
  }
  if (
    config.output_type === "multiple_choice" &&
    (config.doc_to_choice === null || config.doc_to_choice === undefined)
  ) {
    throw new LayerfoldError("TASK_INVALID", "a task with choices needs the field doc_to_choice", { where });
  }
  for (const [index, { metric: name, aggregation }] of (config.metric_list ?? []).entries()) {
    const field = `metric_list.${index}`;
    const names = metricNames(config.output_type);
    if (!names.includes(name)) {
      throw unsupported(
        `${field}.metric`,
        `names a metric that is not known here: ${name}, wanted ${names.join(", ")}`,
      );
    }
    if (aggregation !== undefined && !aggregationNames.includes(aggregation)) {
      throw unsupported(
        `${field}.aggregation`,
        `is not known here: ${aggregation}, wanted ${aggregationNames.join(", ")}`,
      );
    }
  }
  return config;
}

/** The metrics of a task, by default those of its output type, with every default filled in. */
export function metricsOf({ metric_list, output_type }: TaskConfig): Metric[] {
  const list = metric_list ?? metricNames(output_type, true).map((name) => ({ metric: name }));
  return list.map((entry) => ({ ...metricDefaults[entry.metric], ...entry }));
}

/** Name of the first Python function in a field. */
function functionIn(given: unknown): string | undefined {
  if (given instanceof PythonFunction) return given.name;
  if (typeof given !== "object" || given === null) return undefined;
  for (const inner of Object.values(given)) {
    const found = functionIn(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}
