import type { Files } from "./input.js";

/** A reader of files that come from outside. */
export interface FuzzTarget {
  readonly id: string;
  /** Well-formed folders, which is what gets changed; small. */
  starts(scratch: string): Promise<readonly Files[]>;
  /** Whether a file is one that the reader reads and that gets changed; default: all are. */
  changes?(name: string): boolean;
  /** Reads a folder, and uses what it holds as the product would. May write into `out`, a folder that is not there yet. */
  read(folder: string, out: string): Promise<unknown>;
}

export const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
export const encodeJson = (value: unknown): Uint8Array => encode(JSON.stringify(value));
