/**
 * Packs rows of codes as dense bitstreams: in every row, code j takes bits j·bits … (j+1)·bits − 1 counted from the lowest bit
 * of the first word, straddling words where `bits` does not divide 32. A row is padded with zero bits to a whole word.
 *
 * This one layout underlies every format here: compressed-tensors stores it along the input, GPTQ stores its transpose,
 * AWQ stores it along the output with columns permuted, and ONNX MatMulNBits reads its bytes.
 *
 * @param codes - [rows, columns], each 0 … 2^bits − 1
 * @param bits - 1 … 8
 * @returns [rows, ceil(columns·bits / 32)] words
 *
 * @example
 * ```ts
 * assert(packRows(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), 1, 8, 4)[0] === 0x76543210);
 * ```
 */
export function packRows(codes: Uint8Array, rows: number, columns: number, bits: number): Int32Array {
  const wordsPerRow = packedWords(columns, bits);
  const words = new Int32Array(rows * wordsPerRow);
  for (let row = 0, from = 0; row < rows; row++) {
    let at = row * wordsPerRow;
    let word = 0;
    let filled = 0;
    for (let column = 0; column < columns; column++) {
      const code = codes[from++];
      word |= code << filled;
      filled += bits;
      if (filled >= 32) {
        words[at++] = word;
        filled -= 32;
        // What did not fit of this code opens the next word. A shift by `bits` or more must give 0.
        word = filled > 0 ? code >>> (bits - filled) : 0;
      }
    }
    if (filled > 0) words[at] = word;
  }
  return words;
}

/**
 * The inverse of {@link packRows}.
 *
 * @param words - [rows, ceil(columns·bits / 32)]
 * @returns [rows, columns] codes
 */
export function unpackRows(words: Int32Array, rows: number, columns: number, bits: number): Uint8Array {
  const wordsPerRow = packedWords(columns, bits);
  const codes = new Uint8Array(rows * columns);
  const mask = (1 << bits) - 1;
  for (let row = 0, to = 0; row < rows; row++) {
    const start = row * wordsPerRow;
    for (let column = 0, bit = 0; column < columns; column++, bit += bits) {
      const at = start + (bit >>> 5);
      const shift = bit & 31;
      let code = words[at] >>> shift;
      if (shift + bits > 32) code |= words[at + 1] << (32 - shift);
      codes[to++] = code & mask;
    }
  }
  return codes;
}

/** Words that a row of `columns` codes takes. */
export function packedWords(columns: number, bits: number): number {
  return Math.ceil((columns * bits) / 32);
}

/** The transpose of a row-major [rows, columns] array, as a new array of the same type. */
export function transposed<A extends Int32Array | Uint8Array | Float32Array>(
  values: A,
  rows: number,
  columns: number,
): A {
  const out = new (values.constructor as new (length: number) => A)(values.length);
  for (let row = 0, from = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[from++];
  }
  return out;
}
