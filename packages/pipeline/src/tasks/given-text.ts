import { readFile, writeFile } from "node:fs/promises";
import type { TokenSequence } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { type Codec, defineTask, type Json, jsonCodec, jsonDigest, type Task } from "@layerfold/tasks";

/** Token sequences as they lie in JSON: what counts as a target in each begins at `scored_from`. */
type StoredSequences = readonly { readonly ids: readonly number[]; readonly scored_from: number }[];

export const sequencesCodec: Codec<readonly TokenSequence[]> = {
  name: "tokens.json",
  write: (sequences, path) =>
    writeFile(
      path,
      `[\n${stored(sequences)
        .map((row) => JSON.stringify(row))
        .join(",\n")}\n]\n`,
    ),
  async read(path) {
    const rows: StoredSequences = JSON.parse(await readFile(path, "utf8"));
    return rows.map(({ ids, scored_from }) => ({ ids: Int32Array.from(ids), scoredFrom: scored_from }));
  },
};

function stored(sequences: readonly TokenSequence[]): StoredSequences {
  return sequences.map(({ ids, scoredFrom }) => ({ ids: Array.from(ids), scored_from: scoredFrom }));
}

/** Those that were named before: a text is asked about many times, and its digest takes a look at each of its ids. */
const named = new WeakMap<readonly TokenSequence[], Task<readonly TokenSequence[]>>();

/**
 * Token sequences that are at hand, as what a task reads: known by their ids, whatever text and tokenizer they came from.
 * @param sequences - not to be changed any more
 */
export function givenText(sequences: readonly TokenSequence[]): Task<readonly TokenSequence[]> {
  const before = named.get(sequences);
  if (before) return before;
  const content = jsonDigest(stored(sequences) as Json, "token sequences");
  const task = { ...tokensTask({ content }), run: async () => sequences };
  named.set(sequences, task);
  return task;
}

/** Questions, rows of a benchmark, or another value that is at hand: known by its content. @param kind - that it is */
export function givenValue<T>(kind: string, value: T): Task<T> {
  const content = jsonDigest(value as Json, kind);
  return { ...(givenTask(kind)({ content }) as Task<T>), run: async () => value };
}

/** What stands for token sequences in a process that has not read the text: they are found in the store, or not at all. */
export const tokensTask = elsewhereTask("tokens", sequencesCodec);

/** The same of another value. */
export function givenTask(kind: string) {
  return elsewhereTask(kind, jsonCodec<unknown>());
}

function elsewhereTask<T>(kind: string, codec: Codec<T>) {
  return defineTask({
    kind,
    code: "content",
    codec,
    here: true,
    async run({ content }: { readonly content: string }): Promise<T> {
      throw new LayerfoldError("ARTEFACT_MISSING", `the ${kind} that a task reads are not in the store`, {
        got: content.slice(0, 12),
        fault: "environment",
      });
    },
  });
}
