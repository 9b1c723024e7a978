import type { MatmulEngine } from "./engine.js";

export type Awaitable<T> = T | Promise<T>;

/** A seeded stream of random numbers. The same seed and the same calls give the same numbers on every machine. */
export interface Rng {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
  /** Uniform integer in [0, bound). */
  integer(bound: number): number;
  /** A uniformly random order of 0 … count−1. */
  permutation(count: number): Int32Array;
  /** An independent stream that depends on this one's seed and the label only, not on how much was drawn. */
  fork(label: string | number): Rng;
}

/** How far a stage has come. */
export interface ProgressEvent {
  readonly type: "progress";
  readonly stage: string;
  readonly done: number;
  readonly total: number;
  /** What is counted, e.g. "tokens", "layers", "pairs". */
  readonly unit: string;
}

/** Something that the user should know although work goes on; never silent, never thrown. */
export interface Diagnostic {
  readonly type: "diagnostic";
  readonly severity: "info" | "warning";
  /** Stable, UPPER_SNAKE_CASE. */
  readonly code: string;
  readonly message: string;
}

/** What is being done now, for a person who watches. */
export interface StatusEvent {
  readonly type: "status";
  readonly message: string;
}

/** What one hears of work that goes on. */
export type ReportEvent = ProgressEvent | Diagnostic | StatusEvent;

/** What every plug-in is handed: randomness, compute, cancellation and a voice. Nothing of this comes from globals. */
export interface RunContext {
  readonly rng: Rng;
  readonly engine: MatmulEngine;
  /** Bytes that may be used, where somebody said so; no result depends on it. */
  readonly memory?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly report?: ((event: ReportEvent) => void) | undefined;
  /** Absent where no other process is at the same work: then all is made here. */
  readonly shareParts?: ShareParts | undefined;
}

/**
 * Makes the parts of one thing, each by whichever of the processes that do the same work comes to it first. What is made of them must not depend
 * on who made which.
 * @param name - of the thing; the same in all processes
 * @param make - one part, as bytes
 * @returns all of them, in order
 */
export type ShareParts = (
  name: string,
  count: number,
  make: (part: number) => Promise<Uint8Array>,
) => Promise<readonly Uint8Array[]>;
