import type { BlockSpec, Role, RotarySpec, Tap } from "@layerfold/core";
import type { GraphBuilder, Value } from "@layerfold/onnx";

/** What a block's graph reads beside the stream. */
export interface SequenceValues {
  /** int32 [batch] position of each row's last real token, counted from the sequence's begin. */
  readonly lastPosition: Value;
  /** int32 scalar: tokens before this run + the run's own. */
  readonly totalLength: Value;
  /** int64 [1] position of the run's first token, the number of tokens before this run; where rows differ, [batch, sequence] every token's. */
  readonly positions: Value;
  /** int32 [sequence] every token's position; where rows differ, [batch, sequence]. */
  readonly tokenPositions: Value;
  /** int32 [total] the positions of all that can be attended to: 0, 1, 2, … */
  readonly keyPositions: Value;
  /**
   * Present where a row is a tree of texts: float32 [1, 1, sequence, total], 0 at the keys that a token may see and -infinity at all others,
   * causality included. Absent: a token sees all before it, or as many as the window lets it.
   */
  readonly visibility?: ((slidingWindow: number | undefined) => Value) | undefined;
  /** Present where rows differ in what they remember: which of a run's tokens are real, those of a row before its padding. */
  readonly real?: {
    /** float32 [batch, sequence, 1] 1 at real tokens, 0 at padding. */
    readonly mask: Value;
    /** int64 [batch] */
    readonly counts: Value;
  };
  /** float32 [total, rotaryDimension / 2], one row per position. */
  rotaryTable(spec: RotarySpec): { readonly cos: Value; readonly sin: Value };
}

/** What a block remembers of the tokens before this run. Named by the part that keeps it. */
export interface BlockState {
  /** The remembered value, declared as an input of that shape ("past" is a length of its own). */
  past(name: string, shape: readonly (number | string)[]): Value;
  /** What to remember for the next run. */
  present(name: string, value: Value, shape: readonly (number | string)[]): void;
}

/** Everything that the parts of one block need to write their nodes. */
export interface BlockContext {
  readonly graph: GraphBuilder;
  readonly spec: BlockSpec;
  readonly hiddenSize: number;
  readonly sequence: SequenceValues;
  /** Absent: every run is a whole sequence. */
  readonly state?: BlockState | undefined;
  /** Round what attention's, the MLP's and the experts' linear maps read, as integer activations of so many bits would be. */
  readonly activationBits?: number | undefined;
  has(role: Role): boolean;
  /** The tensor as float32; not for linear maps, which may be stored in another form. */
  weight(role: Role): Value;
  /** `x` times the weight of that role's linear map. */
  product(x: Value, role: Role): Value;
  /** The tensor's shape, which may differ from the spec's in widths inside the block. */
  shape(role: Role): readonly number[];
  /** Offers an inner value, [batch, sequence, width]; returns what the rest of the block reads in its place. */
  tap(name: Tap, value: Value, width: number): Value;
}
