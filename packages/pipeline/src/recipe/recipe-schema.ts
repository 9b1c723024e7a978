import { type Plugin, type PluginFactory, z } from "@layerfold/core";
import type { RepairPart } from "@layerfold/merge";
import { devices } from "@layerfold/onnx";
import { variantNames } from "../grid/variants.js";

/** What may be named where a plug-in is wanted: an id or a path, one with options, or (in code) the plug-in or its factory. */
export type Part<P extends Plugin = Plugin> =
  | string
  | RepairPart
  | P
  | (PluginFactory & ((options?: never) => P));

/** Rows of every plan: as the method carries it out, or in one of four ways. */
export const rowNames = ["fold", ...variantNames] as const;
export type RowName = (typeof rowNames)[number];

const name = z.string().min(1);
const texts = z.union([name, z.array(name).min(1, "an empty list names no text")]);
const tokens = z.number().int().min(2);

const fullLists = "an empty list makes an empty grid";
const list = <T extends z.ZodType>(of: T) => z.array(of).min(1, fullLists);

const options = z.record(name, z.unknown());
const filePart = z.union([
  name,
  z.strictObject({
    id: name.describe("id, or path to a module"),
    options: options.optional().describe("in the stead of its defaults"),
    trial: options
      .optional()
      .describe("of a repair: options in the stead of those above where a planner tries plans with it"),
  }),
]);

const calibration = z.strictObject({
  text: texts.describe(
    "one text or several with shares of the tokens, such as a.txt:0.5,b.jsonl[200:]:0.5 ([from:to] = rows, or tokens of a stream); NAME:rows.jsonl = a benchmark's rows; self = the model's own text",
  ),
  tokens: z
    .union([tokens, z.literal("auto")])
    .optional()
    .describe(
      "tokens of all texts together, spread evenly over them; auto = as many as the repair gains by; default: as many as the shares allow",
    ),
  window: tokens.optional().describe("longest token sequence; default 512, or the model's context"),
  self_temperature: z.number().positive().optional().describe("at which self draws its text; default 1"),
  questions: name
    .optional()
    .describe("multiple-choice questions that planners which try plans weigh beside the text"),
  question_weight: z
    .number()
    .positive()
    .optional()
    .describe("of the answers' mean loss beside the text's; default 1"),
  recall_weight: z
    .number()
    .min(0)
    .optional()
    .describe("of the mean loss of tokens that stood in their window before; default the method's, else 0"),
  planning_tokens: tokens.optional().describe("calibration tokens that planners try plans on; default 16384"),
  pooling: name
    .optional()
    .describe(
      "samples of every layer: last, mean, every:k or all; default last of documents, every:16 with a stream",
    ),
});

const evaluate = z.strictObject({
  texts: texts
    .optional()
    .describe("perplexity is measured on these, FILE or FILE[from:to]; single figures are the first one's"),
  questions: name.optional().describe("multiple-choice questions, answered by letter"),
  tasks: z.array(name).optional().describe("public benchmarks, NAME:FILE or NAME:FILE[from:to] each"),
  window: tokens
    .optional()
    .describe(
      "tokens that the model sees at once; default: of texts 512, or its context; of questions its context",
    ),
  stride: z
    .number()
    .int()
    .min(1)
    .optional()
    .describe("tokens between two windows' starts; default the window"),
  max_tokens: tokens.optional().describe("only the first so many tokens of each text"),
  begin_token: z
    .enum(["auto", "always", "never"])
    .optional()
    .describe("give the tokenizer's begin token; default auto: with documents, not with a stream"),
  allow_overlap: z
    .boolean()
    .optional()
    .describe("measure although judged text stands in the calibration text"),
});

/** The schema, with what may be named where a plug-in is wanted. */
function schemaWith<P extends z.ZodType>(part: P) {
  const measure = z.union([
    part,
    z.strictObject({
      id: name,
      options: options.optional(),
      embedding: part.optional().describe("before this measure, in the stead of the list's"),
    }),
  ]);
  const repair = part.describe("or none");
  return z.strictObject({
    model: name.describe("checkpoint folder, or hf:org/name[@revision]"),
    seed: z.number().int().min(0).optional().describe("of everything random; default 0"),
    execution: z
      .enum(["whole", "blocks"])
      .optional()
      .describe(
        "how models run: as one graph whose weights are all in memory, or block by block; default: as the memory allows",
      ),
    calibration: z
      .union([texts, calibration])
      .optional()
      .describe("text that methods look at; a text alone stands for { text }"),
    evaluate: z
      .union([texts, evaluate])
      .optional()
      .describe("what every model is judged on; a text alone stands for { texts }"),
    methods: list(
      z.union([
        name,
        z.strictObject({
          method: name
            .optional()
            .describe("a preset; without one the parts are all that there is, weighted the default strategy"),
          name: name.optional().describe("in tables and folders; default: made of the parts' names"),
          planner: part.optional(),
          strategy: part.optional(),
          repair: repair.optional(),
          measure: part.optional(),
          embedding: part.optional(),
          recall_weight: z.number().min(0).optional().describe("default the preset's, else 0"),
        }),
      ]),
    )
      .optional()
      .describe("presets, or presets with other parts; lists below replace that part of each"),
    planners: list(part)
      .optional()
      .describe("an axis: which layers fold together; a file FILE.json is a plan of one's own"),
    strategies: list(part)
      .optional()
      .describe("an axis: how layers become one; default the method's, else weighted"),
    repairs: list(repair)
      .optional()
      .describe("an axis: correction afterwards, or none; default the method's, else none"),
    measures: list(measure)
      .optional()
      .describe("an axis: how layers are compared; default the method's, else npib"),
    embeddings: list(part)
      .optional()
      .describe("an axis: what comes before the measure; default the method's, else the measure's own"),
    // Which there may be hangs on the model: LAYERS_OUT_OF_RANGE says so.
    layers: list(z.number().int().meta({ minimum: 1 }))
      .optional()
      .describe("an axis: layers that remain"),
    ratios: list(z.number().gt(0).lt(1))
      .optional()
      .describe("the same as shares of the layers that go, rounded to whole layers"),
    quantize: list(name)
      .optional()
      .describe("schemes by which the dense model and every fold are quantised too, e.g. gptq-w4g128"),
    embedding_bits: z
      .union([z.literal(4), z.literal(8)])
      .optional()
      .describe("of quantize: round the embedding too"),
    rows: list(z.enum(rowNames))
      .optional()
      .describe("ways in which every plan is carried out and measured; default fold and dropped"),
    options: z
      .record(name, options)
      .optional()
      .describe(
        "options of every plug-in of a kind, as --set KIND.OPTION=VALUE: { embedding: { alpha: 0.5 } }",
      ),
    report: z
      .enum(["results", "ablation", "quality"])
      .optional()
      .describe(
        "tables to write: results (results.json, report.html, plans; default), ablation (ablation.*), quality (quality.*: does merging beat dropping?)",
      ),
    checkpoints: z
      .boolean()
      .optional()
      .describe("write the folded checkpoints too; default: with results they are written, else not"),
    device: z.enum(devices).optional().describe("where models run; default cpu. --device goes before it"),
    allow_fallback: z
      .boolean()
      .optional()
      .describe("let what the device has no kernel for run on the CPU; default: such a model is refused"),
    output: name.optional().describe("folder to write; --out goes before it"),
  });
}

const isPlugin = (value: unknown): value is Plugin | PluginFactory =>
  ((typeof value === "object" && value !== null) || typeof value === "function") &&
  "kind" in value &&
  "id" in value;

const fileSchema = schemaWith(filePart);
/** The same in code, where a plug-in may be handed over as it is. */
const codeSchema = schemaWith(
  z.union([z.custom<Part>(isPlugin, "no plug-in"), filePart]) as unknown as z.ZodType<Part, Part>,
);

/**
 * What is run: a model, its texts, and a list on every axis; the combinations make a grid. Keys are as in a recipe's file; paths are relative to
 * the working folder, in a file to the file. In code plug-ins may be handed over as they are.
 */
export type Recipe = z.input<typeof codeSchema>;

/** The schema of a recipe's file, and of one that is handed over in code. */
export const recipeSchemas = {
  file: refined(fileSchema as unknown as typeof codeSchema),
  code: refined(codeSchema),
};

/** Names of all keys, for suggestions, by the path of the mapping that they stand in. */
export function knownKeys(path: readonly PropertyKey[]): string[] {
  const [first] = path;
  if (path.length === 0) return Object.keys(fileSchema.shape);
  if (first === "calibration") return Object.keys(calibration.shape);
  if (first === "evaluate") return Object.keys(evaluate.shape);
  const own =
    first === "methods"
      ? ["method", "name", "planner", "strategy", "repair", "measure", "embedding", "recall_weight"]
      : [];
  if (first === "methods" && path.length === 2) return own;
  return ["id", "options", ...(first === "measures" ? ["embedding"] : first === "repairs" ? ["trial"] : [])];
}

/** JSON Schema (draft 2020-12) of a recipe's file, for editors. */
export function recipeJsonSchema(): Readonly<Record<string, unknown>> {
  return {
    ...z.toJSONSchema(fileSchema, { io: "input" }),
    title: "layerfold recipe",
  };
}

/** What hangs together between keys. */
function refined(schema: typeof codeSchema) {
  return schema.superRefine((recipe, ctx) => {
    const wrong = (path: (string | number)[], message: string) =>
      ctx.addIssue({ code: "custom", path, message });
    if (recipe.methods === undefined && recipe.planners === undefined)
      wrong([], "wanted methods, or planners: without them there is no grid");
    for (const [index, method] of (recipe.methods ?? []).entries()) {
      if (typeof method === "object" && method.method === undefined && method.planner === undefined)
        wrong(["methods", index], "wanted method (a preset), or planner");
    }
    if ((recipe.layers === undefined) === (recipe.ratios === undefined))
      wrong(
        recipe.layers === undefined ? [] : ["ratios"],
        "wanted either layers (that remain) or ratios (that go)",
      );
    if (recipe.embedding_bits !== undefined && recipe.quantize === undefined)
      wrong(["embedding_bits"], "wanted quantize too: nothing is quantised whose embedding could be rounded");
    const axes = [
      "methods",
      "planners",
      "strategies",
      "repairs",
      "measures",
      "embeddings",
      "layers",
    ] as const;
    for (const axis of [...axes, "ratios", "quantize", "rows"] as const) {
      const seen: string[] = [];
      for (const [index, entry] of (recipe[axis] ?? []).entries()) {
        // Plug-ins that were handed over in code are told apart by what they are.
        const text = typeof entry === "function" || isPlugin(entry) ? undefined : JSON.stringify(entry);
        if (text !== undefined && seen.includes(text))
          wrong([axis, index], `${text} stands here twice: its rows and folders would be the same`);
        else if (text !== undefined) seen.push(text);
      }
    }
  });
}
