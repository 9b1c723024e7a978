import { LayerfoldError } from "@layerfold/core";

/** Most tokens of a question that the model sees: what is asked for, else its whole context. @throws WINDOW_TOO_LONG */
export function questionWindow(asked: number | undefined, context: number): number {
  return windowFor(asked ?? context, context);
}

/** Tokens that the model sees at once: what is asked for, else 512 or the model's context. @throws WINDOW_TOO_LONG */
export function windowFor(asked: number | undefined, context: number): number {
  const window = asked ?? Math.min(512, context);
  if (window <= context) return window;
  throw new LayerfoldError("WINDOW_TOO_LONG", "the window is longer than the model's context", {
    wanted: `at most ${context} tokens`,
    got: `${window}`,
    where: "--window",
  });
}
