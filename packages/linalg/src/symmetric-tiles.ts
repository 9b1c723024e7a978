import { type Floats, LayerfoldError, type Matrix, submatrix, tensor } from "@layerfold/core";

/**
 * A symmetric matrix as the square tiles on and below its diagonal, row by row of tiles: half the memory of the whole, in pieces that the
 * engine takes as they lie. Tiles on the diagonal are whole.
 */
export interface SymmetricTiles {
  readonly size: number;
  /** Rows of a tile; the last row of tiles may be lower, the last column narrower. */
  readonly tile: number;
  readonly dtype: "float32" | "float64";
  /** Tile (i, j ≤ i) stands at i(i + 1)/2 + j, [rows of i, rows of j] row-major. */
  readonly tiles: readonly Floats[];
}

/** Large enough for products near the engine's best rate; up to this size a matrix is one tile. */
const tileSize = 2048;

/** All 0; about 4 · size² bytes in float64 and 2 · size² in float32, and half a tile for each row of tiles. */
export function symmetricZeros(
  size: number,
  dtype: SymmetricTiles["dtype"] = "float64",
  tile = tileSize,
): SymmetricTiles {
  const make = (count: number) => (dtype === "float64" ? new Float64Array(count) : new Float32Array(count));
  const shape = { size, tile };
  const tiles: Floats[] = [];
  for (let i = 0; i < tileCount(shape); i++) {
    for (let j = 0; j <= i; j++) tiles.push(make(tileRows(shape, i) * tileRows(shape, j)));
  }
  return { ...shape, dtype, tiles };
}

/** The tiles of a whole symmetric matrix, [size, size] row-major, in its own dtype. */
export function symmetricFrom({ data, shape }: Matrix, tile = tileSize): SymmetricTiles {
  const [size] = shape;
  const result = symmetricZeros(size, data instanceof Float64Array ? "float64" : "float32", tile);
  eachTile(result, (values, i, j) => {
    const width = tileRows(result, j);
    for (let r = 0; r < tileRows(result, i); r++) {
      const start = (i * tile + r) * size + j * tile;
      values.set(data.subarray(start, start + width), r * width);
    }
  });
  return result;
}

export function symmetricCopy(matrix: SymmetricTiles): SymmetricTiles {
  return { ...matrix, tiles: matrix.tiles.map((values) => values.slice()) };
}

type Shape = Pick<SymmetricTiles, "size" | "tile">;

export function tileCount({ size, tile }: Shape): number {
  return Math.ceil(size / tile);
}

/** Rows of the i-th row of tiles. */
export function tileRows({ size, tile }: Shape, i: number): number {
  return Math.min(tile, size - i * tile);
}

/** Tile (i, j), j ≤ i; a view. */
export function tileAt(matrix: SymmetricTiles, i: number, j: number): Matrix {
  return tensor(matrix.tiles[(i * (i + 1)) / 2 + j], [tileRows(matrix, i), tileRows(matrix, j)]) as Matrix;
}

function eachTile(matrix: SymmetricTiles, visit: (values: Floats, i: number, j: number) => void): void {
  for (let i = 0, at = 0; i < tileCount(matrix); i++) {
    for (let j = 0; j <= i; j++) visit(matrix.tiles[at++], i, j);
  }
}

/** A symmetric matrix whose values are a function of another's, symmetric in rows and columns. */
export function symmetricMap(
  matrix: SymmetricTiles,
  change: (value: number, row: number, column: number) => number,
): SymmetricTiles {
  const result = symmetricCopy(matrix);
  const { tile } = matrix;
  eachTile(result, (values, i, j) => {
    const width = tileRows(matrix, j);
    for (let k = 0; k < values.length; k++) {
      values[k] = change(values[k], i * tile + Math.floor(k / width), j * tile + (k % width));
    }
  });
  return result;
}

/** [size] */
export function symmetricDiagonal(matrix: SymmetricTiles): Float64Array {
  const { size, tile } = matrix;
  return Float64Array.from({ length: size }, (_, k) => {
    const { data, shape } = tileAt(matrix, Math.floor(k / tile), Math.floor(k / tile));
    return data[(k % tile) * (shape[1] + 1)];
  });
}

/** Adds a number to every value of the diagonal, in place. */
export function addToDiagonal(matrix: SymmetricTiles, value: number): void {
  for (let i = 0; i < tileCount(matrix); i++) {
    const { data, shape } = tileAt(matrix, i, i);
    for (let k = 0; k < data.length; k += shape[1] + 1) data[k] += value;
  }
}

/** Adds another matrix of the same size and dtype, in place. */
export function addSymmetric(matrix: SymmetricTiles, other: SymmetricTiles): void {
  for (const [t, values] of matrix.tiles.entries()) {
    const added = other.tiles[t];
    for (let k = 0; k < values.length; k++) values[k] += added[k];
  }
}

/** [rows, columns] float64: some rows and columns, in the order given. */
export function symmetricPart(
  matrix: SymmetricTiles,
  rows: readonly number[],
  columns: readonly number[],
): Matrix<Float64Array> {
  const out = new Float64Array(rows.length * columns.length);
  rows.forEach((row, i) => {
    readRow(matrix, row, columns, out, i * columns.length);
  });
  return tensor(out, [rows.length, columns.length]);
}

/** Writes some values of a row, wherever the half that is kept holds them. */
function readRow(
  { size, tile, tiles }: SymmetricTiles,
  row: number,
  columns: readonly number[],
  out: Floats,
  at: number,
): void {
  const own = Math.floor(row / tile);
  const inOwn = row - own * tile;
  const height = Math.min(tile, size - own * tile);
  // Columns mostly come in order, and then many from one tile.
  let [block, from, start, step] = [-1, tiles[0], 0, 0];
  for (let c = 0; c < columns.length; c++) {
    const column = columns[c];
    const other = Math.floor(column / tile);
    if (other !== block) {
      block = other;
      if (other <= own) {
        from = tiles[(own * (own + 1)) / 2 + other];
        start = inOwn * Math.min(tile, size - other * tile);
        step = 1;
      } else {
        from = tiles[(other * (other + 1)) / 2 + own];
        start = inOwn;
        step = height;
      }
    }
    out[at + c] = from[start + (column - block * tile) * step];
  }
}

/** The matrix of some rows and columns, ascending or in any other order. */
export function symmetricPrincipal(matrix: SymmetricTiles, kept: readonly number[]): SymmetricTiles {
  const result = symmetricZeros(kept.length, matrix.dtype, matrix.tile);
  eachTile(result, (values, i, j) => readTile(matrix, kept, values, i, j));
  return result;
}

/** Writes tile (i, j) of the matrix of some rows and columns; how many values those are. */
function readTile(
  matrix: SymmetricTiles,
  kept: readonly number[],
  out: Floats,
  i: number,
  j: number,
): number {
  const { tile } = matrix;
  const rows = kept.slice(i * tile, (i + 1) * tile);
  const columns = kept.slice(j * tile, (j + 1) * tile);
  rows.forEach((row, r) => {
    readRow(matrix, row, columns, out, r * columns.length);
  });
  return rows.length * columns.length;
}

/**
 * The matrix of some rows and columns, in the memory of the whole, which is spoilt.
 * @param kept - ascending
 */
export function symmetricShrink(matrix: SymmetricTiles, kept: readonly number[]): SymmetricTiles {
  const shape = { ...matrix, size: kept.length };
  const tiles: Floats[] = [];
  const spare = matrix.tiles[0].slice();
  // Tile by tile, row by row: what later tiles are made of lies in none that has been written over.
  for (let i = 0; i < tileCount(shape); i++) {
    for (let j = 0; j <= i; j++) {
      const count = readTile(matrix, kept, spare, i, j);
      const values = matrix.tiles[tiles.length];
      values.set(spare.subarray(0, count));
      tiles.push(values.subarray(0, count));
    }
  }
  return { ...shape, tiles };
}

/** Rows of a right-hand side beside the i-th row of tiles; a view. @throws TENSOR_SHAPE */
export function rowsBeside(matrix: SymmetricTiles, i: number, rightSide: Matrix): Matrix {
  if (rightSide.shape[0] !== matrix.size) {
    throw new LayerfoldError("TENSOR_SHAPE", "the right-hand side has another number of rows", {
      wanted: `${matrix.size}`,
      got: `${rightSide.shape[0]}`,
    });
  }
  return submatrix(rightSide, i * matrix.tile, 0, tileRows(matrix, i));
}
