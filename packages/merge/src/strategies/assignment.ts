import { checkFinite, type Matrix, matrixSize } from "@layerfold/core";

/**
 * The one-to-one assignment of rows to columns of largest total: shortest augmenting paths with dual prices (Jonker & Volgenant 1987).
 *
 * @param gain - [n, n], finite
 * @returns [n] the column of every row; of equal totals always the same one. O(n³) at worst, O(n) memory.
 * @throws WEIGHT_NOT_FINITE
 */
export function bestAssignment(gain: Matrix): Int32Array {
  const { rows: size } = matrixSize(gain, "gain");
  // Nothing is nearer than NaN: the search would never end.
  checkFinite(gain, "likeness of two layers' parts");
  const rowPrice = new Float64Array(size);
  const columnPrice = new Float64Array(size);
  const rowOf = new Int32Array(size).fill(-1);
  const columnOf = new Int32Array(size).fill(-1);
  const distance = new Float64Array(size);
  const before = new Int32Array(size);
  const remaining = new Int32Array(size);
  for (let start = 0; start < size; start++) {
    distance.fill(Number.POSITIVE_INFINITY);
    for (let j = 0; j < size; j++) remaining[j] = j;
    let left = size;
    let row = start;
    let reached = 0;
    let end = -1;
    const visited: number[] = [];
    while (end < 0) {
      const values = gain.offset + row * gain.stride[0];
      let best = 0;
      for (let k = 0; k < left; k++) {
        const j = remaining[k];
        const through = reached - gain.data[values + j * gain.stride[1]] - rowPrice[row] - columnPrice[j];
        if (through < distance[j]) {
          distance[j] = through;
          before[j] = row;
        }
        if (distance[j] < distance[remaining[best]]) best = k;
      }
      const column = remaining[best];
      reached = distance[column];
      remaining[best] = remaining[--left];
      visited.push(column);
      if (rowOf[column] < 0) end = column;
      else row = rowOf[column];
    }
    rowPrice[start] += reached;
    for (const column of visited) {
      if (column !== end) rowPrice[rowOf[column]] += reached - distance[column];
      columnPrice[column] -= reached - distance[column];
    }
    for (let column = end; ; ) {
      const from = before[column];
      rowOf[column] = from;
      const next = columnOf[from];
      columnOf[from] = column;
      if (from === start) break;
      column = next;
    }
  }
  return columnOf;
}
