const brand = Symbol.for("layerfold.error");

/** Characters of a message, or of one of its facts. */
const mostCharacters = 800;

/** What a file holds may be long or of several lines; what is said of it is not. Line breaks and the like are spelled out, then the middle goes. */
function oneLine(text: string): string {
  const half = mostCharacters / 2;
  const spelled = text.replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (character) =>
    character === "\n" ? "\\n" : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return spelled.length <= mostCharacters
    ? spelled
    : `${spelled.slice(0, half)} … ${spelled.slice(spelled.length - half)}`;
}

/** What a {@link LayerfoldError} tells beside its message. */
export interface ErrorDetails {
  /** What would have been right. */
  readonly wanted?: string | undefined;
  /** What was found instead. */
  readonly got?: string | undefined;
  /** File, tensor, byte offset, option or layer. */
  readonly where?: string | undefined;
  /**
   * Who can mend it: `input` - the caller's arguments or files (command line exit code 2), `environment` - the machine
   * or the runtime (exit code 1), `interrupted` - somebody asked to stop (exit code 130). Default `input`.
   */
  readonly fault?: "input" | "environment" | "interrupted" | undefined;
  readonly cause?: unknown;
}

/**
 * The one error class of layerfold: a stable `code` in UPPER_SNAKE_CASE, and what was wanted, what came and where. Each of these is one
 * line of at most 803 characters, whatever is quoted in it.
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
  readonly wanted: string | undefined;
  readonly got: string | undefined;
  readonly where: string | undefined;
  readonly fault: "input" | "environment" | "interrupted";
  // Recognised across duplicate installs, where instanceof fails.
  readonly [brand] = true;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    const reason = oneLine(message);
    const [wanted, got, where] = [details.wanted, details.got, details.where].map(
      (fact) => fact && oneLine(fact),
    );
    const facts = [wanted && `wanted ${wanted}`, got && `got ${got}`, where && `at ${where}`].filter(Boolean);
    super(facts.length > 0 ? `${reason} (${facts.join(", ")})` : reason, { cause: details.cause });
    this.name = "LayerfoldError";
    this.code = code;
    this.reason = reason;
    this.wanted = wanted;
    this.got = got;
    this.where = where;
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
