import { readFile, writeFile } from "node:fs/promises";
import type { TokenSequence } from "@layerfold/checkpoint";
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

/** Token sequences that are at hand, as what a task reads: known by their ids, whatever text and tokenizer they came from. */
export function givenText(sequences: readonly TokenSequence[]): Task<readonly TokenSequence[]> {
  const content = jsonDigest(stored(sequences) as Json, "token sequences");
  return defineTask({ kind: "tokens", code: "content", codec: sequencesCodec, run: async () => sequences })({
    content,
  });
}

/** Questions, rows of a benchmark, or another value that is at hand: known by its content. @param kind - that it is */
export function givenValue<T>(kind: string, value: T): Task<T> {
  const content = jsonDigest(value as Json, kind);
  return defineTask({ kind, code: "content", codec: jsonCodec<T>(), run: async () => value })({ content });
}
