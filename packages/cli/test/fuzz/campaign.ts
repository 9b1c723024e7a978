import { link, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { changedFiles, type Files, type Input, input } from "./input.js";
import { readFiles } from "./read-files.js";
import type { Answer, ReaderProcess } from "./reader-process.js";

export interface Budget {
  readonly seed: number;
  /** Inputs to try. */
  readonly runs?: number | undefined;
  /** Try until then, in milliseconds as `Date.now` has it. */
  readonly until?: number | undefined;
  /** One input of a seed, as a finding names it: fast-check's path. */
  readonly path?: string | undefined;
}

/** A failure, by its smallest input that was found. */
export interface Finding {
  readonly target: string;
  readonly what: string;
  readonly detail: string;
  /** What makes it again. */
  readonly seed: number;
  readonly path: string;
  /** Where the input was written to. */
  readonly folder: string;
}

export interface Campaign {
  readonly tried: number;
  /** How often a reader answered with a result, or with which code. */
  readonly answers: ReadonlyMap<string, number>;
  readonly findings: readonly Finding[];
}

/** Inputs per seed: the next seed begins at a new place. */
const runsPerSeed = 500;
/** Inputs that end the process cost a deadline each, and a new process: after so many a target has shown enough. */
const mostEnded = 3;
/** Attempts to make a failing input smaller, and the time for them in milliseconds. */
const shrinking = { attempts: 150, milliseconds: 15_000 };

/**
 * Has a target read changed inputs. Each kind of failure is found once: its input is made smaller, and the search goes on for others.
 * @param failures - folder that failing inputs are written to
 */
export async function fuzz(
  target: string,
  reader: ReaderProcess,
  budget: Budget,
  failures: string,
): Promise<Campaign> {
  const scratch = await mkdtemp(join(tmpdir(), "layerfold-fuzz-"));
  try {
    const made = await reader.ask({ target, folder: scratch });
    if (made.kind !== "made") throw new Error(`${target}: no well-formed files: ${JSON.stringify(made)}`);
    const starts: { folder: string; files: Files; changing: readonly string[] }[] = [];
    for (const [i, changing] of made.changing.entries()) {
      const folder = join(scratch, "starts", `${i}`);
      starts.push({ folder, files: await readFiles(folder), changing });
    }
    const attempt = async ({ start, changes }: Input): Promise<Answer> => {
      const { folder, files, changing } = starts[start % starts.length];
      const changed = changedFiles(files, changes, changing);
      await place(join(scratch, "input"), folder, files, changed);
      return read(reader, target, scratch);
    };
    // What was not changed must be read, or the search would see nothing but refusals of one thing.
    for (let start = 0; start < starts.length; start++) {
      const answer = await attempt({ start, changes: [] });
      if (answer.kind !== "result") throw new Error(`${target}: start ${start}: ${JSON.stringify(answer)}`);
    }
    const campaign = { tried: 0, answers: new Map<string, number>(), findings: [] as Finding[] };
    const found = new Set<string>();
    const { runs = Number.POSITIVE_INFINITY, until = Number.POSITIVE_INFINITY } = budget;
    let ended = 0;
    for (let seed = budget.seed; campaign.tried < runs && Date.now() < until && ended < mostEnded; seed++) {
      let failing: Extract<Answer, { kind: "failure" }> | undefined;
      let attemptsLeft = shrinking.attempts;
      let shrinkUntil = 0;
      const property = fc.asyncProperty(input, async (input) => {
        if (failing && (attemptsLeft-- <= 0 || Date.now() > shrinkUntil)) return true;
        if (!failing && (Date.now() > until || ended >= mostEnded)) return true;
        const answer = await attempt(input);
        if (!failing) campaign.tried++;
        const name = answer.kind === "refusal" ? answer.code : answer.kind;
        campaign.answers.set(name, (campaign.answers.get(name) ?? 0) + 1);
        const hasEnded = answer.kind === "failure" && answer.ended === true;
        if (hasEnded) ended++;
        if (answer.kind !== "failure" || found.has(answer.what)) return true;
        if (!failing) shrinkUntil = hasEnded ? 0 : Date.now() + shrinking.milliseconds;
        else if (failing.what !== answer.what) return true;
        failing = answer;
        return false;
      });
      const numRuns = Math.min(runsPerSeed, runs - campaign.tried);
      const details = await fc.check(property, {
        seed,
        numRuns,
        ...(budget.path !== undefined && { path: budget.path, endOnFailure: true, numRuns: 1 }),
      });
      if (details.failed) {
        // The harness itself failed.
        if (!failing) throw details.errorInstance;
        found.add(failing.what);
        const [smallest] = details.counterexample!;
        const path = details.counterexamplePath!;
        const folder = join(failures, `${target}-${seed}-${path.replaceAll(":", "-")}`);
        const { folder: from, files, changing } = starts[smallest.start % starts.length];
        await place(folder, from, files, changedFiles(files, smallest.changes, changing), true);
        campaign.findings.push({ target, what: failing.what, detail: failing.detail, seed, path, folder });
      }
      if (budget.path !== undefined) break;
    }
    return campaign;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Reads the input; what ended the process is tried again in a fresh one before it is believed. */
async function read(reader: ReaderProcess, target: string, scratch: string): Promise<Answer> {
  const question = { target, folder: join(scratch, "input"), out: join(scratch, "out") };
  const ask = async () => {
    await rm(question.out, { recursive: true, force: true });
    return reader.ask(question);
  };
  let answer = await ask();
  if (answer.kind === "failure" && answer.ended) answer = await ask();
  const strange = (await readdir(scratch)).find((name) => !["starts", "input", "out"].includes(name));
  if (strange === undefined || answer.kind === "failure") return answer;
  await rm(join(scratch, strange), { recursive: true });
  return { kind: "failure", what: "something was written outside its folder", detail: strange };
}

/** Makes a folder of a start's files and the changed ones. */
async function place(
  folder: string,
  start: string,
  files: Files,
  changed: Files,
  copy = false,
): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const name of files.keys()) {
    const file = join(folder, name);
    if (dirname(file) !== folder) await mkdir(dirname(file), { recursive: true });
    const bytes = changed.get(name) ?? (copy ? files.get(name) : undefined);
    if (bytes) await writeFile(file, bytes);
    else await link(join(start, name), file);
  }
}

/** One line that makes a finding again. */
export function reproduction({ target, seed, path }: Finding): string {
  return `npm run fuzz -- --target ${target} --seed ${seed} --path ${path}`;
}
