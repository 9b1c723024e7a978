import { type Diagnostic, LayerfoldError, type RunContext } from "@layerfold/core";
import type { Codec } from "./codec.js";
import { type Json, jsonDigest } from "./json.js";

/** What a machine must have free while a task runs. */
export interface Resources {
  readonly threads: number;
  readonly bytes: number;
}

/** What a task left, or a file or folder from outside that a task reads. */
export interface Artefact<T = unknown> {
  /** SHA-256, hex: of what made it or, from outside, of its content. */
  readonly digest: string;
  /** Where it lies on this machine, once it has been read. */
  readonly path: string;
  /** What was told while it was made. */
  readonly diagnostics: readonly Diagnostic[];
  /** Of what is from outside: how another process comes by the same, for whoever knows what this says. */
  readonly reference?: Json;
  read(): Promise<T>;
}

/** A pure function by name, with JSON parameters and the artefacts it reads. */
export interface Task<T = unknown> {
  readonly kind: string;
  readonly parameters: Json;
  readonly inputs: TaskInputs;
  /** Digest of the code that makes it. */
  readonly code: string;
  /** SHA-256, hex, of kind, parameters, the inputs' digests and the code: what has the same digest is made once. */
  readonly digest: string;
  /** Stands in the digests of what reads this in its stead, where its content is known; see `withContent`. */
  readonly content?: string;
  readonly resources: Resources;
  readonly codec: Codec<T>;
  /** It hands on what this process holds: no other can run it. */
  readonly here?: boolean;
  /** Processes that have nothing else to do may do the same side by side, and share its parts. */
  readonly joint?: boolean;
  run(inputs: ReadonlyMap<string, Artefact>, ctx: TaskContext): Promise<T>;
}

export type TaskInputs = Readonly<Record<string, Task | Artefact | undefined>>;

/** What a running task is handed. Randomness comes from a seed among its parameters. */
export interface TaskContext extends Omit<RunContext, "rng"> {
  /** The task's own. */
  readonly digest: string;
  /**
   * A folder of the task's own on this machine, on the file system where its value will lie. It outlives a try that failed or was killed: what lies in it then is of the same
   * task, and may be gone on with. It goes when the artefact stands.
   */
  scratch(): Promise<string>;
  /** Something costly to open, opened once for all tasks of this process that ask for it by the same key, and closed when it lies idle. */
  readonly shared: Share;
  /**
   * Runs further tasks, and lets go of the own resources as long as it waits.
   * @param settled - told of each of them once it is there
   */
  run<T>(tasks: readonly Task<T>[], settled?: () => void): Promise<T[]>;
  /** Lets go of what such tasks left, which nobody will ask for again. */
  forget(tasks: readonly Task[]): Promise<void>;
  /** Whether other processes may be at the same task at the same time. */
  readonly joint: boolean;
}

export interface Closable {
  /** Memory that it holds, where that is much. */
  readonly bytes?: number;
  close(): Promise<void>;
}

/** Hands out what is shared by its key. What `open` asks for by the share that it is given stays open as long as what it opens. */
export type Share = <R extends Closable>(key: string, open: (share: Share) => Promise<R>) => Promise<R>;

/**
 * A task whose artefact is known by content, so that what reads it has one digest however the content came about, and once that is made
 * the task itself need not be run again.
 * @param content - SHA-256, hex
 */
export function withContent<T>(task: Task<T>, content: string): Task<T> {
  return { ...task, content };
}

/** What an input counts as in the digest of its reader. */
export function inputDigest(input: Task | Artefact): string {
  return ("content" in input ? input.content : undefined) ?? input.digest;
}

/** Whether an input is something that must be run first. */
export function isTask(input: Task | Artefact): input is Task {
  return "run" in input;
}

export interface TaskDefinition<P extends Json, T, I extends ReadArtefacts> {
  readonly kind: string;
  readonly codec: Codec<T>;
  /** Digest of the code that makes it; see `codeDigest`. */
  readonly code: string | ((parameters: P) => string);
  /** Default: a thread and next to no memory. */
  readonly resources?: (parameters: P) => Resources;
  /** It hands on what this process holds: no other can run it, but all can read what it left. */
  readonly here?: boolean;
  /** Processes that have nothing else to do may do the same side by side, and share its parts through further tasks. */
  readonly joint?: boolean;
  readonly run: (parameters: P, inputs: I, ctx: TaskContext) => Promise<T>;
}

/** What a running task reads, by name. */
export type ReadArtefacts = Readonly<Record<string, Artefact | undefined>>;

/** The same before it has been made. */
type Inputs<I extends ReadArtefacts> = {
  readonly [K in keyof I]: I[K] | (NonNullable<I[K]> extends Artefact<infer T> ? Task<T> : never);
};

/** Makes tasks of one kind. */
export interface TaskFactory<P extends Json, I extends ReadArtefacts, T> {
  (parameters: P, ...inputs: Record<never, never> extends I ? [Inputs<I>?] : [Inputs<I>]): Task<T>;
  readonly kind: string;
}

/**
 * Defines a kind of task.
 *
 * @example
 * ```ts
 * const double = defineTask({
 *   kind: "double", code: "1", codec: jsonCodec<number>(),
 *   run: async ({ of }: { of: number }) => 2 * of,
 * });
 * const [value] = await localExecutor().run([double({ of: 21 })], store, ctx);
 * ```
 *
 * @throws JSON_INVALID from the factory, for parameters that JSON cannot say
 */
export function defineTask<P extends Json, T, I extends ReadArtefacts = Record<never, never>>(
  definition: TaskDefinition<P, T, I>,
): TaskFactory<P, I, T> {
  const { kind, codec, here, joint } = definition;
  const make = (parameters: P, inputs: TaskInputs = {}): Task<T> => {
    const code = typeof definition.code === "string" ? definition.code : definition.code(parameters);
    const given = Object.entries(inputs).filter(([, input]) => input !== undefined) as [string, Artefact][];
    const digests = Object.fromEntries(given.map(([name, input]) => [name, inputDigest(input)]));
    return {
      kind,
      parameters,
      inputs,
      code,
      digest: jsonDigest({ kind, parameters, inputs: digests, code }, `parameters of ${kind}`),
      resources: definition.resources?.(parameters) ?? { threads: 1, bytes: 2 ** 26 },
      codec,
      ...(here && { here }),
      ...(joint && { joint }),
      run(artefacts, ctx) {
        for (const [name] of given) {
          if (artefacts.has(name)) continue;
          throw new LayerfoldError("TASK_INPUT", `the task ${kind} was run without its input ${name}`);
        }
        return definition.run(parameters, Object.fromEntries(artefacts) as never, ctx);
      },
    };
  };
  return Object.assign(make as never, { kind });
}
