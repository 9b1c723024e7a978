import { openSafetensors } from "@layerfold/checkpoint";
import { type Architecture, LayerfoldError } from "@layerfold/core";

/**
 * Token ids from a safetensors file: `input_ids` and, where rows are padded to the right, `attention_mask`, int64 [batch, sequence].
 * @throws INPUT_IDS
 */
export async function readTokenRows(
  file: string,
  limits: Pick<Architecture, "vocabularySize" | "maxPositionEmbeddings">,
) {
  const input = await openSafetensors(file);
  try {
    const int64 = async (name: string) => {
      const stored = input.tensors.get(name);
      if (stored?.dtype !== "int64" || stored.shape.length !== 2) {
        throw new LayerfoldError("INPUT_IDS", `cannot read ${name}`, {
          wanted: "int64 [batch, sequence]",
          got: stored ? `${stored.dtype} [${stored.shape.join(", ")}]` : "no such tensor",
          where: file,
        });
      }
      const bytes = await input.readBytes(name);
      return { shape: stored.shape, values: new BigInt64Array(bytes.slice().buffer) };
    };
    const ids = await int64("input_ids");
    const mask = input.tensors.has("attention_mask") ? await int64("attention_mask") : undefined;
    const [batchSize, sequenceLength] = ids.shape;
    if (mask && (mask.shape[0] !== batchSize || mask.shape[1] !== sequenceLength)) {
      throw new LayerfoldError("INPUT_IDS", "attention_mask and input_ids differ in shape", { where: file });
    }
    const rows = Array.from({ length: batchSize }, (_, b) => {
      const at = b * sequenceLength;
      const real = mask ? Array.from(mask.values.subarray(at, at + sequenceLength), Number) : undefined;
      const length = real ? real.lastIndexOf(1) + 1 : sequenceLength;
      if (length === 0 || real?.slice(0, length).includes(0)) {
        throw new LayerfoldError("INPUT_IDS", "a row must start with real tokens, padding to the right", {
          where: `${file}, attention_mask, row ${b}`,
        });
      }
      return Array.from(ids.values.subarray(at, at + length), Number);
    });
    const { vocabularySize, maxPositionEmbeddings } = limits;
    for (const row of rows) {
      const wrong = row.find((id) => id < 0 || id >= vocabularySize);
      if (wrong === undefined && row.length <= maxPositionEmbeddings) continue;
      throw new LayerfoldError("INPUT_IDS", "the model cannot take these token ids", {
        wanted: `ids below ${vocabularySize}, at most ${maxPositionEmbeddings} of them`,
        got: wrong === undefined ? `${row.length} tokens` : `id ${wrong}`,
        where: file,
      });
    }
    return { rows, batchSize, sequenceLength };
  } finally {
    await input.close();
  }
}
