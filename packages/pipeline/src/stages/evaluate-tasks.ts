import { openCheckpoint, openTokenizer, type Tokenizer } from "@layerfold/checkpoint";
import { LayerfoldError, type ReportEvent } from "@layerfold/core";
import {
  type EvaluatedTask,
  type EvaluationResults,
  evaluatedSplit,
  evaluationResults,
  fewshotSource,
  findTask,
  groupsOf,
  prepareDocuments,
  type Response,
  readSplit,
  type SampleRecord,
  type SingleTask,
  sampleRecords,
  summarizeGroup,
  summarizeTask,
  type TaskDocument,
  type TaskNode,
  tasksOf,
} from "@layerfold/evaluate";
import { checkEvaluationFiles, writeEvaluationFiles } from "../evaluation/result-files.js";
import { questionWindow } from "../inputs/window.js";
import { type DataFact, dataFact, modelFact, modelName, type RunFacts } from "../manifest.js";
import { withExecution } from "../memory.js";
import { asRun, modelFolder, type Run, type RunOptions } from "../run.js";
import { askTasks } from "../tasks/ask-documents.js";
import { givenModel } from "../tasks/stored-model.js";
import { withTasks } from "../work-folder.js";

export interface EvaluateTasksRequest {
  /** Checkpoint folder, or `hf:org/name`. */
  readonly model: string;
  /** Names of tasks, groups and tags, or paths of task files. */
  readonly tasks: readonly string[];
  /** Folder that holds the tasks' data; see `dataNames`. */
  readonly data: string;
  /** The first so many documents of each task. */
  readonly limit?: number | undefined;
  /** Examples before each document, in the stead of what tasks say; a task that says 0 stays without. */
  readonly fewshot?: number | undefined;
  /** Seed that examples are drawn by; default 1234, the harness's. */
  readonly fewshotSeed?: number | undefined;
  /** Tokens that the model sees at once; default: its context. */
  readonly window?: number | undefined;
  /** Folder for result files; finished shards are kept beside it. */
  readonly out?: string | undefined;
  /** Write one line for each document too. */
  readonly logSamples?: boolean | undefined;
}

export interface TaskEvaluation {
  readonly model: string;
  readonly results: EvaluationResults;
  /** Of each single task, one for each document and filter. */
  readonly samples: ReadonlyMap<string, readonly SampleRecord[]>;
  /** The files that each task's rows came from. */
  readonly data: Readonly<Record<string, readonly DataFact[]>>;
  /** Files that were written. */
  readonly files: readonly string[];
}

/** Documents of one shard: some minutes' work of a small model. */
const shardDocuments = {
  multiple_choice: 128,
  loglikelihood: 128,
  loglikelihood_rolling: 8,
  generate_until: 32,
};

interface Prepared {
  readonly task: SingleTask;
  readonly documents: readonly TaskDocument[];
  readonly available: number;
  readonly fewshot: number;
  readonly facts: readonly DataFact[];
}

/**
 * Asks a model about tasks as lm-evaluation-harness defines them, with the data in a folder. Each task and shard of documents is a task whose artefact
 * is kept (beside `out`, or where `store` says) until all is done: the same command goes on where it was broken off, and gives the same bytes.
 *
 * @throws TASK_UNKNOWN, TASK_INVALID, TASK_FIELD_UNSUPPORTED, DATA_MISSING, TASK_ROW_INVALID, FEWSHOT_TOO_FEW, and what asking throws
 */
export async function evaluateTasks(
  request: EvaluateTasksRequest,
  options: RunOptions | Run = {},
): Promise<TaskEvaluation> {
  const given = asRun(options);
  if (request.tasks.length === 0) {
    throw new LayerfoldError("NOTHING_TO_EVALUATE", "no task is named", { wanted: "--tasks NAME,NAME" });
  }
  const nodes: TaskNode[] = [];
  for (const name of request.tasks) nodes.push(await findTask(name));
  const name = request.model.startsWith("hf:") ? request.model.slice(3) : modelName(request.model);
  if (request.out !== undefined) await checkEvaluationFiles(request.out, name);
  const prepared: Prepared[] = [];
  for (const task of tasksOf(nodes)) prepared.push(await prepare(task, request, given));

  const directory = await modelFolder(request.model, given);
  const checkpoint = await openCheckpoint(directory, { report: given.ctx.report });
  try {
    // Bad tokenizers are found before the first long computation.
    const tokenizer: Tokenizer = await openTokenizer(directory);
    const run = withExecution(given, checkpoint);
    const contextLength = questionWindow(request.window, checkpoint.architecture.maxPositionEmbeddings);
    const responses = await ask(
      request,
      prepared,
      { directory, fingerprint: await checkpoint.fingerprint() },
      contextLength,
      run,
    );
    const evaluated = new Map(
      prepared.map(({ task, documents, available, fewshot }, i) => {
        const summary = summarizeTask(task.config, documents, responses[i]);
        const samples = sampleRecords(task.config, documents, responses[i], summary);
        return [task.name, { config: task.config, available, fewshot, summary, samples }] as [
          string,
          EvaluatedTask,
        ];
      }),
    );
    const summaries = new Map([...evaluated].map(([task, { summary }]) => [task, summary]));
    const groups = nodes
      .flatMap(groupsOf)
      .map((group) => [group.name, summarizeGroup(group, summaries)] as const);
    const results = evaluationResults(nodes, evaluated, new Map(groups));
    const samples = new Map([...evaluated].map(([task, one]) => [task, one.samples]));
    const data = Object.fromEntries(prepared.map(({ task, facts: files }) => [task.name, files]));
    if (request.out === undefined) return { model: name, results, samples, data, files: [] };
    const facts: RunFacts = {
      command: "eval",
      arguments: { ...request, data: undefined },
      model: await modelFact(request.model, checkpoint),
      data,
    };
    const files = await writeEvaluationFiles(
      request.out,
      { name, nodes, results, tasks: evaluated, contextLength, tokenizer, request },
      facts,
      run,
    );
    return { model: name, results, samples, data, files };
  } finally {
    await checkpoint.close();
  }
}

async function prepare(task: SingleTask, request: EvaluateTasksRequest, { ctx }: Run): Promise<Prepared> {
  const { config } = task;
  const { report } = ctx;
  const split = await readSplit(request.data, config, evaluatedSplit(config), true, report);
  const fewshot = fewshotOf(config, request.fewshot);
  if (request.fewshot && fewshot !== request.fewshot) {
    report?.({
      type: "diagnostic",
      severity: "info",
      code: "FEWSHOT_FIXED",
      message: `${task.name}: the task says that it is asked without examples, and so it is`,
    });
  }
  const source = fewshot > 0 ? fewshotSource(config) : {};
  const shown =
    source.split === undefined
      ? undefined
      : await readSplit(request.data, config, source.split, false, report);
  const documents = prepareDocuments(config, split.rows, {
    fewshot,
    fewshotRows: source.rows ?? shown?.rows,
    fewshotSeed: request.fewshotSeed,
    limit: request.limit,
    where: split.files[0],
  });
  const facts = await Promise.all([...split.files, ...(shown?.files ?? [])].map(dataFact));
  return { task, documents, available: split.rows.length, fewshot, facts };
}

function fewshotOf({ num_fewshot, output_type }: SingleTask["config"], given: number | undefined): number {
  if (output_type === "loglikelihood_rolling") return 0;
  return num_fewshot === 0 ? 0 : (given ?? num_fewshot ?? 0);
}

/** @returns [tasks][documents][requests] */
async function ask(
  request: EvaluateTasksRequest,
  prepared: readonly Prepared[],
  model: { readonly directory: string; readonly fingerprint: string },
  contextLength: number,
  run: Run & { readonly execution: NonNullable<Run["execution"]> },
): Promise<Response[][][]> {
  const input = givenModel(model.directory, model.fingerprint, run.place);
  const shards = prepared.map(({ task, documents }) =>
    askTasks(input, documents, {
      execution: run.execution,
      name: task.name,
      contextLength,
      shardSize: shardDocuments[task.config.output_type],
    }),
  );
  const all = shards.flat();
  const requestsOf = new Map(all.map(({ task, requests }) => [task.digest, requests]));
  const total = all.reduce((sum, { requests }) => sum + requests, 0);
  let settled = 0;
  /** A shard tells how far it is; what is told is how far all are. */
  const report = (event: ReportEvent) => {
    if (event.type !== "progress") return run.ctx.report?.(event);
    tell(settled + (event.unit === "requests" ? event.done : 0));
  };
  const tell = (done: number) =>
    run.ctx.report?.({
      type: "progress",
      stage: "evaluate",
      done: Math.min(done, total),
      total,
      unit: "requests",
    });
  const heard = { ...run, ctx: { ...run.ctx, report } };
  const answers = await withTasks(request.out, heard, (tasks) =>
    tasks.run(
      all.map(({ task }) => task),
      ({ digest }) => {
        settled += requestsOf.get(digest) ?? 0;
        requestsOf.delete(digest);
        tell(settled);
      },
    ),
  );
  let next = 0;
  return shards.map((own) => own.flatMap(() => answers[next++]));
}
