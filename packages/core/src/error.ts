const brand = Symbol.for("layerfold.error");

/** What a {@link LayerfoldError} tells beside its message. */
export interface ErrorDetails {
  /** What would have been right. */
  readonly wanted?: string;
  /** What was found instead. */
  readonly got?: string;
  /** File, tensor, byte offset, option or layer. */
  readonly where?: string;
  /**
   * Who can mend it: `input` - the caller's arguments or files (command line exit code 2), `environment` - the machine
   * or the runtime (exit code 1), `interrupted` - somebody asked to stop (exit code 130). Default `input`.
   */
  readonly fault?: "input" | "environment" | "interrupted";
  readonly cause?: unknown;
}

/**
 * The one error class of layerfold: a stable `code` in UPPER_SNAKE_CASE, and what was wanted, what came and where.
 *
 * @example
 * ```ts
 * const error = new LayerfoldError("LAYERS_OUT_OF_RANGE", "cannot leave that many layers", {
 *   wanted: "1 to 15", got: "16", where: "--layers",
 * });
 * assert(error.message === "cannot leave that many layers (wanted 1 to 15, got 16, at --layers)");
 * assert(isLayerfoldError(error, "LAYERS_OUT_OF_RANGE"));
 * ```
 */
export class LayerfoldError extends Error {
  readonly code: string;
  /** The message without wanted, got and where. */
  readonly reason: string;
  readonly wanted?: string;
  readonly got?: string;
  readonly where?: string;
  readonly fault: "input" | "environment" | "interrupted";
  // Recognised across duplicate installs, where instanceof fails.
  readonly [brand] = true;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    const facts = [
      details.wanted && `wanted ${details.wanted}`,
      details.got && `got ${details.got}`,
      details.where && `at ${details.where}`,
    ].filter(Boolean);
    super(facts.length > 0 ? `${message} (${facts.join(", ")})` : message, { cause: details.cause });
    this.name = "LayerfoldError";
    this.code = code;
    this.reason = message;
    this.wanted = details.wanted;
    this.got = details.got;
    this.where = details.where;
    this.fault = details.fault ?? "input";
  }
}

/**
 * Says of an error where its `where` is, for a driver that knows more than what it called: "row 3" becomes "layer 2, row 3". Errors of other
 * kinds, and interruptions, come back as they are.
 */
export function errorWithin(error: unknown, outer: string): unknown {
  if (!isLayerfoldError(error) || error.fault === "interrupted") return error;
  const { code, reason, wanted, got, fault } = error;
  const where = error.where === undefined ? outer : `${outer}, ${error.where}`;
  return new LayerfoldError(code, reason, { wanted, got, where, fault, cause: error });
}

/** Whether `value` is a LayerfoldError, of the given code if one is named; true across duplicate installs. */
export function isLayerfoldError(value: unknown, code?: string): value is LayerfoldError {
  return (
    typeof value === "object" &&
    value !== null &&
    (value as Record<symbol, unknown>)[brand] === true &&
    (code === undefined || (value as LayerfoldError).code === code)
  );
}

/** Throws `INTERRUPTED` once `signal` is aborted; drivers call it between units of work. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new LayerfoldError("INTERRUPTED", "interrupted", { fault: "interrupted", cause: signal.reason });
  }
}
