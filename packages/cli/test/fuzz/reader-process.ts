import { type ChildProcess, fork } from "node:child_process";
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** To the reader: make well-formed folders in `folder`, or, where `out` is given, read it. */
export interface Question {
  readonly target: string;
  readonly folder: string;
  readonly out?: string;
}

/** From the reader. */
export type Answer =
  | { readonly kind: "ready"; readonly targets: readonly string[] }
  /** Well-formed folders lie in `folder/starts/N`; `changing`: which files of each are to be changed. */
  | { readonly kind: "made"; readonly changing: readonly (readonly string[])[] }
  | { readonly kind: "result" }
  | { readonly kind: "refusal"; readonly code: string }
  /** `what` is the same for failures of one kind; `detail` is for people; `ended`: the process had to end or ended by itself. */
  | { readonly kind: "failure"; readonly what: string; readonly detail: string; readonly ended?: boolean };

export interface Limits {
  /** Milliseconds of work that an input may take; where nothing is done but waiting, ten times as many. */
  readonly deadline: number;
  /** Bytes that the process may hold, its own 250 MB included. */
  readonly memory: number;
}

const packages = fileURLToPath(new URL("../../../", import.meta.url));

/** Milliseconds for what is no input: to start, and to make well-formed files. */
const startLimit = 240_000;

/** Sources, not builds: as the tests have it. */
const alias = Object.fromEntries(
  readdirSync(packages)
    .filter((name) => name !== "cli")
    .map((name) => [`@layerfold/${name}`, `${packages}${name}/src/index.ts`]),
);

/** A process that reads what it is given. One that hangs, dies or takes too much memory is ended, and the next question starts another. */
export class ReaderProcess {
  readonly #limits: Limits;
  readonly #probes: boolean;
  #child: ChildProcess | undefined;
  #complaints = "";
  #targets: readonly string[] = [];

  /** @param probes - offer the readers that test this harness instead of the product's */
  constructor(limits: Limits, probes = false) {
    this.#limits = limits;
    this.#probes = probes;
  }

  /** Ids of what the process can read. */
  async targets(): Promise<readonly string[]> {
    this.#child ??= await this.#start();
    return this.#targets;
  }

  async ask(question: Question): Promise<Answer> {
    const child = (this.#child ??= await this.#start());
    const patience = question.out === undefined ? startLimit : 10 * this.#limits.deadline;
    return this.#answer(child, patience, () => child.send(question));
  }

  close(): void {
    this.#child?.kill("SIGKILL");
    this.#child = undefined;
  }

  async #start(): Promise<ChildProcess> {
    const jiti = join(
      dirname(createRequire(import.meta.url).resolve("jiti/package.json")),
      "lib",
      "jiti-cli.mjs",
    );
    const child = fork(
      jiti,
      [
        fileURLToPath(new URL("./reader.ts", import.meta.url)),
        `${this.#limits.deadline}`,
        `${this.#limits.memory}`,
        this.#probes ? "probes" : "",
      ],
      {
        execArgv: [],
        stdio: ["ignore", "ignore", "pipe", "ipc"],
        env: { ...process.env, JITI_ALIAS: JSON.stringify(alias), NODE_OPTIONS: "--max-old-space-size=1024" },
      },
    );
    this.#complaints = "";
    child.stderr!.on("data", (text) => {
      this.#complaints = `${this.#complaints}${text}`.slice(-4_000);
    });
    const answer = await this.#answer(child, startLimit, () => {});
    if (answer.kind !== "ready") throw new Error(`the reader does not start: ${JSON.stringify(answer)}`);
    this.#targets = answer.targets;
    return child;
  }

  #answer(child: ChildProcess, deadline: number, ask: () => void): Promise<Answer> {
    return new Promise((resolve) => {
      const done = (answer: Answer, dead: boolean) => {
        clearTimeout(timer);
        child.removeAllListeners("message").removeAllListeners("close");
        if (dead) {
          child.kill("SIGKILL");
          this.#child = undefined;
        }
        resolve(answer);
      };
      const timer = setTimeout(
        () =>
          done(
            { kind: "failure", what: "no answer", detail: `within ${deadline / 1000} s`, ended: true },
            true,
          ),
        deadline,
      );
      child.once("message", (answer: Answer) => done(answer, false));
      child.once("close", (code, signal) => {
        const told = (words: RegExp) => words.test(this.#complaints);
        const what = told(/more time than is allowed/)
          ? "no answer"
          : told(/more memory than is allowed|heap out of memory/)
            ? "too much memory"
            : `the process died (${signal ?? code})`;
        done({ kind: "failure", what, detail: this.#complaints.slice(-1_000), ended: true }, true);
      });
      ask();
    });
  }
}
