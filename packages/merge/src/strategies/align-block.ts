import {
  type AttentionSpec,
  type BlockView,
  contiguousData,
  type Matrix,
  type Role,
  type RunContext,
  type Tensor,
  tensor,
} from "@layerfold/core";
import {
  selectRows,
  specOf,
  storedWeight,
  transposed,
  vectorOf,
  weightOf,
  withTensors,
} from "../repairs/block-linear.js";
import { bestAssignment } from "./assignment.js";

/**
 * The same block with its inner parts in the order in which they are most like another's: MLP neurons jointly over gate, up and down
 * (expert by expert), key/value heads together with their query heads, and query heads within their key/value head. No output changes but
 * for rounding. Order is by weight matching (Git Re-Basin, arXiv 2209.04836): the assignment of largest Σ⟨w_i, w'_π(i)⟩.
 *
 * Cost: neurons² · 3 · hidden in the engine and neurons³ at worst for the assignment; neurons² float32 of memory.
 */
export async function alignBlock(
  reference: BlockView,
  block: BlockView,
  ctx: RunContext,
): Promise<BlockView> {
  const { mixer } = specOf(block);
  const tensors: (readonly [Role, Tensor])[] = [];
  if (mixer.kind === "attention") tensors.push(...(await alignedHeads(reference, block, mixer, ctx)));
  for (const role of block.tensors.keys()) {
    const part = /^(mlp|experts\.\d+)\.down$/.exec(role)?.[1];
    if (part) tensors.push(...(await alignedNeurons(reference, block, part, ctx)));
  }
  return withTensors(block, tensors);
}

const rowMajor = (matrix: Matrix<Float32Array>) => tensor(contiguousData(matrix), matrix.shape);

/** ⟨a_i, b_j⟩ summed over several matrices, whose rows are taken `rowsPerUnit` at a time. */
async function likeness(
  pairs: readonly (readonly [Matrix<Float32Array>, Matrix<Float32Array>])[],
  rowsPerUnit: number,
  ctx: RunContext,
): Promise<Matrix<Float32Array>> {
  let sum: Matrix<Float32Array> | undefined;
  for (const pair of pairs) {
    const [a, b] = pair.map(({ data, shape: [rows, columns] }) =>
      tensor(data, [rows / rowsPerUnit, rowsPerUnit * columns]),
    );
    const product: Matrix<Float32Array> = await ctx.engine.matmul<Matrix<Float32Array>>(a, b, {
      transposeB: true,
    });
    if (!sum) sum = product;
    else for (let i = 0; i < product.data.length; i++) sum.data[i] += product.data[i];
  }
  return sum!;
}

async function alignedNeurons(
  reference: BlockView,
  block: BlockView,
  part: string,
  ctx: RunContext,
): Promise<(readonly [Role, Tensor])[]> {
  const inward = ["gate", "up", "gate_up"]
    .map((name) => `${part}.${name}`)
    .filter((r) => block.tensors.has(r));
  const down = (view: BlockView) => rowMajor(transposed(weightOf(view, `${part}.down`)));
  const count = down(block).shape[0];
  const every = Array.from({ length: count }, (_, i) => i);
  // A fused map holds the gates first, then the ups.
  const halves = (view: BlockView) =>
    inward.flatMap((role) => {
      const weight = weightOf(view, role);
      const starts = weight.shape[0] === count ? [0] : [0, count];
      return starts.map((start) =>
        selectRows(
          weight,
          every.map((i) => start + i),
        ),
      );
    });
  const others = halves(block);
  const pairs = halves(reference).map((a, i) => [a, others[i]] as const);
  const order = Array.from(
    bestAssignment(await likeness([...pairs, [down(reference), down(block)]], 1, ctx)),
  );
  const tensors: (readonly [Role, Tensor])[] = [
    [`${part}.down`, storedWeight(specOf(block), transposed(selectRows(down(block), order)))],
  ];
  for (const role of inward) {
    const fused = weightOf(block, role).shape[0] !== count;
    tensors.push(...withRows(block, role, fused ? [...order, ...order.map((i) => count + i)] : order));
  }
  return tensors;
}

/** A map and its bias with the outputs in another order. */
function withRows(block: BlockView, role: Role, rows: readonly number[]): (readonly [Role, Tensor])[] {
  const bias = vectorOf(block, `${role}.bias`);
  return [
    [role, storedWeight(specOf(block), selectRows(weightOf(block, role), rows))],
    ...(bias ? [[`${role}.bias`, tensor(Float32Array.from(rows, (row) => bias[row]))] as const] : []),
  ];
}

/** Where the rows of query head `query` of key/value head `c`, of its key and of its value begin, and in which map. */
function headStarts({ headCount, keyValueHeadCount, headSize, projection }: AttentionSpec) {
  const queries = headCount / keyValueHeadCount;
  const keys = projection === "separate" ? 0 : headCount;
  const values = projection === "separate" ? 0 : headCount + keyValueHeadCount;
  const perHead = projection === "fused-per-head";
  const units = {
    query: (c: number, query: number) => (perHead ? c * (queries + 2) : c * queries) + query,
    key: (c: number) => (perHead ? c * (queries + 2) + queries : keys + c),
    value: (c: number) => (perHead ? c * (queries + 2) + queries + 1 : values + c),
  };
  return {
    query: (c: number, query: number) => units.query(c, query) * headSize,
    key: (c: number) => units.key(c) * headSize,
    value: (c: number) => units.value(c) * headSize,
  };
}

async function alignedHeads(
  reference: BlockView,
  block: BlockView,
  spec: AttentionSpec,
  ctx: RunContext,
): Promise<(readonly [Role, Tensor])[]> {
  const { headCount, keyValueHeadCount, headSize, projection, queryKeyNorm } = spec;
  const queries = headCount / keyValueHeadCount;
  const starts = headStarts(spec);
  const rowsFrom = (start: number) => Array.from({ length: headSize }, (_, i) => start + i);
  const groups = Array.from({ length: keyValueHeadCount }, (_, c) => c);
  const members = Array.from({ length: queries }, (_, query) => query);
  const role = (field: "query" | "key" | "value"): Role =>
    projection === "separate" ? `attention.${field}` : "attention.qkv";
  const part = (view: BlockView, field: "query" | "key" | "value") =>
    selectRows(
      weightOf(view, role(field)),
      groups.flatMap((c) =>
        field === "query"
          ? members.flatMap((query) => rowsFrom(starts.query(c, query)))
          : rowsFrom(starts[field](c)),
      ),
    );
  const output = (view: BlockView) => rowMajor(transposed(weightOf(view, "attention.output")));
  const pair = (of: (view: BlockView) => Matrix<Float32Array>) => [of(reference), of(block)] as const;

  const queryLikeness = await likeness([pair((view) => part(view, "query")), pair(output)], headSize, ctx);
  const total = await likeness(
    [pair((view) => part(view, "key")), pair((view) => part(view, "value"))],
    headSize,
    ctx,
  );
  const within = groups.map((c) =>
    groups.map((other) => {
      const { data } = queryLikeness;
      const gain = tensor(
        data,
        [queries, queries],
        [headCount, 1],
        c * queries * headCount + other * queries,
      );
      const order = bestAssignment(gain);
      for (const query of members) total.data[c * keyValueHeadCount + other] += gain.get(query, order[query]);
      return order;
    }),
  );
  const chosen = Array.from(bestAssignment(total), (other, c) => ({ other, queries: within[c][other] }));

  // Rows of the query part, and so columns of the output projection, in the new order.
  const heads = chosen.flatMap((group) =>
    Array.from(group.queries, (query) => group.other * queries + query),
  );
  const headRows = heads.flatMap((head) => rowsFrom(head * headSize));
  const tensors: (readonly [Role, Tensor])[] = [
    ["attention.output", storedWeight(specOf(block), transposed(selectRows(output(block), headRows)))],
  ];
  const queryRows = chosen.map((group) =>
    Array.from(group.queries).flatMap((query) => rowsFrom(starts.query(group.other, query))),
  );
  const keyRows = chosen.map(({ other }) => rowsFrom(starts.key(other)));
  const valueRows = chosen.map(({ other }) => rowsFrom(starts.value(other)));
  if (projection === "separate") {
    tensors.push(...withRows(block, "attention.query", queryRows.flat()));
    tensors.push(...withRows(block, "attention.key", keyRows.flat()));
    tensors.push(...withRows(block, "attention.value", valueRows.flat()));
  } else if (projection === "fused") {
    const rows = [...queryRows, ...keyRows, ...valueRows].flat();
    tensors.push(...withRows(block, "attention.qkv", rows));
  } else {
    const rows = chosen.flatMap((_, c) => [...queryRows[c], ...keyRows[c], ...valueRows[c]]);
    tensors.push(...withRows(block, "attention.qkv", rows));
  }
  if (queryKeyNorm?.over === "projection") {
    const keyHeadRows = chosen.flatMap(({ other }) => rowsFrom(other * headSize));
    for (const [norm, rows] of [
      [queryKeyNorm.query, headRows],
      [queryKeyNorm.key, keyHeadRows],
    ] as const) {
      for (const name of [norm.weight, norm.bias]) {
        const vector = vectorOf(block, name);
        if (name && vector) tensors.push([name, tensor(Float32Array.from(rows, (row) => vector[row]))]);
      }
    }
  }
  return tensors;
}
