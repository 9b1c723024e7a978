import { LayerfoldError } from "@layerfold/core";
import type { ComparedEvaluation, ComparedSample } from "./stored-evaluation.js";

const hashes = [
  ["doc_hash", "other data"],
  ["prompt_hash", "other prompts or examples"],
  ["target_hash", "other answers"],
] as const;

/**
 * Whether two evaluations asked the same documents of a task in the same way.
 * @throws DOCUMENTS_DIFFER naming the first document that differs, and how
 */
export function requireSameDocuments(
  task: string,
  first: ComparedEvaluation,
  other: ComparedEvaluation,
): void {
  const differ = (how: string, wanted: string, got: string, at?: string) =>
    new LayerfoldError("DOCUMENTS_DIFFER", `what is compared was not asked alike: ${how}`, {
      wanted: `${wanted}, as ${first.where} has it`,
      got,
      where: [other.where, task, at].filter(Boolean).join(", "),
    });
  const shots = [first, other].map(({ results }) => results["n-shot"][task] ?? 0);
  if (shots[0] !== shots[1]) throw differ("other few-shot", `${shots[0]} examples`, `${shots[1]}`);
  const [wanted, got] = [first, other].map(({ samples }) => byFilter(samples.get(task) ?? []));
  const filters = [wanted, got].map((rows) => [...rows.keys()].sort().join(", "));
  if (filters[0] !== filters[1]) throw differ("other filters", filters[0], filters[1]);
  for (const [filter, rows] of wanted) {
    const others = got.get(filter) ?? [];
    for (let i = 0; i < Math.max(rows.length, others.length); i++) {
      const [a, b] = [rows[i], others[i]];
      if (a?.doc_id !== b?.doc_id) {
        const name = (row: ComparedSample | undefined) => (row ? `document ${row.doc_id}` : "none");
        throw differ(
          `other documents (${rows.length} and ${others.length})`,
          name(a),
          name(b),
          `document ${a?.doc_id ?? b.doc_id}`,
        );
      }
      const found = hashes.find(([hash]) => a[hash] !== b[hash]);
      if (!found) continue;
      const [hash, how] = found;
      throw differ(how, `${hash} ${a[hash].slice(0, 12)}`, b[hash].slice(0, 12), `document ${a.doc_id}`);
    }
  }
}

/** Filter by filter, in the order of documents. */
export function byFilter(samples: readonly ComparedSample[]): Map<string, ComparedSample[]> {
  const found = new Map<string, ComparedSample[]>();
  for (const sample of samples) {
    const list = found.get(sample.filter);
    if (list) list.push(sample);
    else found.set(sample.filter, [sample]);
  }
  for (const list of found.values()) list.sort((a, b) => a.doc_id - b.doc_id);
  return found;
}
