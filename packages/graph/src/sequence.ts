import { LayerfoldError, type TokenBatch } from "@layerfold/core";
import { type GraphBuilder, type OnnxTensor, onnxTensor } from "@layerfold/onnx";
import type { SequenceValues } from "./block-context.js";
import type { RotaryTables } from "./rotary-tables.js";

/** Declares what the blocks of a graph read beside the stream; each input only if something asks for it. */
export function sequenceValues(graph: GraphBuilder, tables: RotaryTables): SequenceValues {
  return {
    get lastPosition() {
      return graph.input("last_position", "int32", ["batch"]);
    },
    get totalLength() {
      return graph.input("total_length", "int32", []);
    },
    get positions() {
      return graph.input("first_position", "int64", [1]);
    },
    get tokenPositions() {
      return graph.input("token_positions", "int32", ["sequence"]);
    },
    get keyPositions() {
      return graph.input("key_positions", "int32", ["total"]);
    },
    rotaryTable: rotaryInputs(graph, tables),
  };
}

/** Declares a rotary table's inputs where a block asks for it. */
export function rotaryInputs(graph: GraphBuilder, tables: RotaryTables): SequenceValues["rotaryTable"] {
  return (spec) => {
    const index = tables.indexOf(spec);
    const shape = ["positions", spec.rotaryDimension / 2];
    return {
      cos: graph.input(`cos.${index}`, "float32", shape),
      sin: graph.input(`sin.${index}`, "float32", shape),
    };
  };
}

/**
 * The values for those inputs.
 * @param names - the session's inputs; what it lacks is left out
 * @param lengths - [batch] real tokens of each row in this run
 * @param past - tokens before this run
 */
export function sequenceInputs(
  names: readonly string[],
  tables: RotaryTables,
  lengths: Int32Array,
  sequenceLength: number,
  past = 0,
): Record<string, OnnxTensor> {
  const total = past + sequenceLength;
  const positions = Int32Array.from({ length: total }, (_, index) => index);
  const longest = past + lengths.reduce((a, b) => Math.max(a, b));
  const values: Record<string, OnnxTensor> = {
    last_position: onnxTensor(
      "int32",
      Int32Array.from(lengths, (length) => past + length - 1),
      [lengths.length],
    ),
    total_length: onnxTensor("int32", Int32Array.of(total), []),
    first_position: onnxTensor("int64", BigInt64Array.of(BigInt(past)), [1]),
    token_positions: onnxTensor("int32", positions.subarray(past), [sequenceLength]),
    key_positions: onnxTensor("int32", positions, [total]),
    ...tables.values(total, longest),
  };
  return Object.fromEntries(Object.entries(values).filter(([name]) => names.includes(name)));
}

/** @throws BATCH_INVALID, TOKEN_OUT_OF_RANGE */
export function checkBatch(batch: TokenBatch, vocabularySize: number): void {
  const { batchSize, sequenceLength, inputIds, lengths } = batch;
  if (batchSize < 1 || inputIds.length !== batchSize * sequenceLength || lengths.length !== batchSize) {
    throw new LayerfoldError("BATCH_INVALID", "the batch's arrays do not fit its size", {
      wanted: `${batchSize * sequenceLength} ids and ${batchSize} lengths`,
      got: `${inputIds.length} and ${lengths.length}`,
    });
  }
  lengths.forEach((length, row) => {
    if (length < 1 || length > sequenceLength) {
      throw new LayerfoldError("BATCH_INVALID", "a row's length is out of range", {
        wanted: `1 to ${sequenceLength}`,
        got: `${length}`,
        where: `row ${row}`,
      });
    }
  });
  const stray = inputIds.findIndex((id) => id < 0 || id >= vocabularySize);
  if (stray !== -1) {
    throw new LayerfoldError("TOKEN_OUT_OF_RANGE", "the model has no such token", {
      wanted: `0 to ${vocabularySize - 1}`,
      got: `${inputIds[stray]}`,
      where: `row ${Math.floor(stray / sequenceLength)}, position ${stray % sequenceLength}`,
    });
  }
}
