import { askDocuments, type Response, type TaskDocument } from "@layerfold/evaluate";
import type { Execution } from "@layerfold/graph";
import { type Artefact, defineTask, jsonCodec, type Task } from "@layerfold/tasks";
import { sharedAsked } from "./asked-model.js";
import { givenValue } from "./given-text.js";
import { allThreads } from "./resources.js";
import type { ModelInput, StoredModel } from "./stored-model.js";
import { taskCode } from "./task-code.js";

/** A document as far as a model sees it. */
type AskedDocument = Pick<TaskDocument, "id" | "requests">;

/** One model and one shard of documents: [documents][requests] what it gave. */
export const askDocumentsTask = defineTask({
  kind: "ask-documents",
  code: taskCode(import.meta.url),
  codec: jsonCodec<Response[][]>(),
  resources: allThreads,
  async run(
    {
      execution,
      name,
      context_length: contextLength,
    }: { readonly execution: Execution; readonly name: string; readonly context_length: number },
    {
      model,
      documents,
    }: { readonly model: Artefact<StoredModel>; readonly documents: Artefact<readonly AskedDocument[]> },
    ctx,
  ) {
    const { asked, tokenizer, endTokens } = await sharedAsked(model, execution, ctx);
    const given = (await documents.read()) as readonly TaskDocument[];
    return askDocuments(asked, tokenizer, given, { name, contextLength, endTokens }, ctx);
  },
});

export interface AskParameters {
  readonly execution: Execution;
  /** Of the task. */
  readonly name: string;
  readonly contextLength: number;
  /** Documents of one shard. */
  readonly shardSize: number;
}

/** A task for each shard of documents: what a model gave to each request of each. */
export function askTasks(
  model: ModelInput,
  documents: readonly TaskDocument[],
  { execution, name, contextLength, shardSize }: AskParameters,
): { readonly task: Task<Response[][]>; readonly requests: number }[] {
  const shards = [];
  for (let from = 0; from < documents.length; from += shardSize) {
    const shard: AskedDocument[] = documents
      .slice(from, from + shardSize)
      .map(({ id, requests }) => ({ id, requests }));
    shards.push({
      task: askDocumentsTask(
        { execution, name, context_length: contextLength },
        {
          model,
          documents: givenValue<readonly AskedDocument[]>("documents", shard),
        },
      ),
      requests: shard.reduce((sum, { requests }) => sum + requests.length, 0),
    });
  }
  return shards;
}
