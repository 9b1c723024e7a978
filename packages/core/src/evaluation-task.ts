import type { Plugin } from "./plugin.js";

/** Something to go on from, and ways to go on, one of which is right. */
export interface ChoiceItem {
  /** One for all choices, or one for each. */
  readonly context: string | readonly string[];
  /** Without the space that joins them to the context. */
  readonly choices: readonly string[];
  /** Index of the right choice. */
  readonly answer: number;
  readonly subject?: string;
}

/** A benchmark as data: what its rows hold, and the item that a row becomes; by default a context and choices. */
export interface EvaluationTask<Item = ChoiceItem> extends Plugin {
  readonly kind: "task";
  /** One line, for help. */
  readonly summary: string;
  /**
   * @param row - one object of a `.jsonl` file, not checked yet
   * @param where - the file and line, for errors
   * @throws TASK_ROW_INVALID saying where and what
   */
  item(row: unknown, where: string): Item;
}
