import type { Diagnostic } from "@layerfold/core";
import type { Json } from "./json.js";
import type { Artefact, Task } from "./task.js";

/** Keeps artefacts by digest. Several processes on several machines may share one. */
export interface TaskStore {
  /** What another process opens it by: a folder's path, or an address. */
  readonly location: string;
  /** Folder of this machine for what its workers say; it may have to be made. */
  readonly logs: string;
  /**
   * What an earlier run of the task left, whoever ran it.
   * @param report - hears ARTEFACT_DAMAGED where it no longer has the bytes that were written; it then counts as not there
   */
  find<T>(
    task: Pick<Task<T>, "digest" | "kind" | "codec">,
    report?: (event: Diagnostic) => void,
  ): Promise<Artefact<T> | undefined>;
  /** Keeps a value. Where the artefact stands already, that one stays: equal tasks leave equal values. @throws DISK_FULL, FILE_DENIED … */
  put<T>(task: Task<T>, made: Made<T>): Promise<Artefact<T>>;
  /** Whether an artefact stands, whole or not. */
  has(task: Pick<Task, "digest" | "kind">): Promise<boolean>;
  /** The right to run a task; undefined while another has it. */
  lease(digest: string): Promise<Lease | undefined>;
  /** Who holds leases, by what they are of: digests of tasks that are being made, and `run-…` of whoever has the store open. */
  holders(): Promise<ReadonlyMap<string, LeaseHolder>>;
  /** The folder in which a task works; what an earlier try left stands in it. */
  scratch(task: Pick<Task, "digest">): Promise<string>;
  /** All artefacts, in no order. */
  list(): AsyncIterable<ArtefactRecord>;
  /** That artefacts of these kinds take on a disk of this machine. */
  localBytes(kinds: readonly string[]): Promise<number>;
  /** Removes an artefact. */
  remove(record: Pick<ArtefactRecord, "kind" | "digest">): Promise<void>;
  readonly notes: Notes;
  /** Whether the store itself is there: somebody may have removed it. */
  stands(): Promise<boolean>;
}

/** Small texts that processes leave for each other: what is to be done (`stages/ID.json`), and what failed (`failures/DIGEST.json`). */
export interface Notes {
  read(name: string): Promise<string | undefined>;
  /** In the stead of what stands there. */
  write(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** Names in a folder, sorted; none where there is no such folder. @param folder - `stages` or `failures` */
  list(folder: string): Promise<readonly string[]>;
}

export interface Made<T> {
  readonly value: T;
  readonly diagnostics: readonly Diagnostic[];
  readonly seconds: number;
}

/**
 * The right to run a task, kept alive until it is released. A process that shows no life loses it without being told: should it wake and finish
 * after all, its artefact is equal to the other's.
 */
export interface Lease {
  /** Holders before this one that died of it, or at it. */
  readonly deaths: number;
  release(): Promise<void>;
}

/** Who has a lease. */
export interface LeaseHolder {
  readonly host: string;
  readonly process: number;
  /** Since its last sign of life, by this machine's clock; a process of another host that died is silent until somebody takes over. */
  readonly silentSeconds: number;
}

/** What a store says of an artefact, for people and for other tools. */
export interface ArtefactRecord {
  readonly digest: string;
  readonly kind: string;
  readonly parameters: Json;
  /** Digests of what it was made from, by name. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly code: string;
  /** Name of its file or folder. */
  readonly value: string;
  /** Every file of it by its path in the artefact's folder. */
  readonly files: Readonly<Record<string, ArtefactFile>>;
  readonly diagnostics: readonly Diagnostic[];
  /** That it took to make. */
  readonly seconds: number;
}

export interface ArtefactFile {
  readonly bytes: number;
  readonly sha256: string;
}
