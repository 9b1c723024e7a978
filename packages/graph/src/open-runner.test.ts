import { fileURLToPath } from "node:url";
import { type Checkpoint, openCheckpoint } from "@layerfold/checkpoint";
import { type BlockView, type ModelRunner, type Tap, type Tensor, tensor, tokenBatch } from "@layerfold/core";
import { portableEngine } from "@layerfold/linalg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openRunner } from "./open-runner.js";

const folder = fileURLToPath(new URL("../test/golden/architectures/", import.meta.url));
const batch = tokenBatch([
  [5, 17, 3, 99, 4],
  [8, 1, 2, 0, 7],
]);

/** The tensor's rows (axis 0) or columns (axis 1) in the order given; −1 is one of zeros. */
function pick({ data, shape }: Tensor, axis: 0 | 1, order: readonly number[]): Tensor {
  const size = axis === 0 ? [order.length, shape[1]] : [shape[0], order.length];
  const out = new Float32Array(size[0] * size[1]);
  for (let i = 0; i < size[0]; i++) {
    for (let j = 0; j < size[1]; j++) {
      const [row, column] = axis === 0 ? [order[i], j] : [i, order[j]];
      out[i * size[1] + j] = row < 0 || column < 0 ? 0 : data[row * shape[1] + column];
    }
  }
  return tensor(out, size);
}

function changed(block: BlockView, changes: Record<string, (t: Tensor) => Tensor>): BlockView {
  const tensors = new Map(block.tensors);
  for (const [role, change] of Object.entries(changes)) tensors.set(role, change(tensors.get(role)!));
  return { ...block, tensors };
}

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((most, x, i) => Math.max(most, Math.abs(x - b[i])), 0);
}

describe("openRunner", () => {
  let checkpoint: Checkpoint;
  let runner: ModelRunner;
  beforeAll(async () => {
    checkpoint = await openCheckpoint(`${folder}llama`);
    runner = await openRunner(checkpoint, { threads: 1 });
  });
  afterAll(async () => {
    await runner.close();
    await checkpoint.close();
  });

  it.each(["llama", "phi", "jamba"])("%s: goes on from given inner values", async (name) => {
    const opened = await openCheckpoint(`${folder}${name}`);
    const model = await openRunner(opened, { threads: 1 });
    const input = await model.embed(batch);
    const taps: Tap[] = ["attention.heads", "residual.mid"];
    for (const [layer, { residual }] of opened.architecture.blocks.entries()) {
      const whole = await model.runBlock(layer, input, { taps });
      const given = new Map(whole.taps);
      const again = await model.runBlock(layer, input, { taps, given });
      expect(distance(again.hidden.states.data, whole.hidden.states.data)).toBeLessThan(1e-6);
      for (const tap of taps) expect(again.taps.get(tap)?.data).toEqual(given.get(tap)?.data);
      // Behind the middle of a sequential block nothing reads the stream, nor attention.
      const lost = {
        ...input,
        states: tensor(new Float32Array(input.states.data.length), input.states.shape),
      };
      const behind = await model.runBlock(layer, lost, { given });
      const change = distance(behind.hidden.states.data, whole.hidden.states.data);
      if (residual === "sequential") expect(change).toBeLessThan(1e-6);
      else expect(change).toBeGreaterThan(1e-3);
    }
    await model.close();
    await opened.close();
  });

  it("returns the inner values, which fit together", async () => {
    const taps: Tap[] = [
      "attention.input",
      "attention.heads",
      "attention.update",
      "residual.mid",
      "mlp.input",
      "mlp.hidden",
      "mlp.update",
    ];
    const input = await runner.embed(batch);
    const { hidden, taps: found } = await runner.runBlock(1, input, { taps });
    const { tensors } = await runner.block(1);
    expect([...found.keys()]).toEqual(taps);
    const value = (name: Tap) => found.get(name)!;
    const sum = (a: Tensor, b: Tensor) => a.data.map((x, i) => x + b.data[i]);
    expect(distance(value("residual.mid").data, sum(input.states, value("attention.update")))).toBe(0);
    expect(distance(hidden.states.data, sum(value("residual.mid"), value("mlp.update")))).toBe(0);
    const engine = portableEngine();
    const product = (name: Tap, role: string) => {
      const { data, shape } = value(name);
      return engine.matmul<Tensor>(tensor(data, [shape[0] * shape[1], shape[2]]), tensors.get(role)!, {
        transposeB: true,
      });
    };
    const attended = await product("attention.heads", "attention.output");
    expect(distance(attended.data, value("attention.update").data)).toBeLessThan(1e-5);
    const transformed = await product("mlp.hidden", "mlp.down");
    expect(distance(transformed.data, value("mlp.update").data)).toBeLessThan(1e-5);
    const gate = await product("mlp.input", "mlp.gate");
    const up = await product("mlp.input", "mlp.up");
    const silu = gate.data.map((x, i) => (x / (1 + Math.exp(-x))) * up.data[i]);
    expect(distance(silu, value("mlp.hidden").data)).toBeLessThan(1e-5);
  });

  it("runs replaced tensors, also with more or fewer neurons or heads", async () => {
    const input = await runner.embed(batch);
    const own = await runner.block(2);
    const run = async (replace: BlockView) =>
      (await runner.runBlock(2, input, { replace })).hidden.states.data;
    const plain = (await runner.runBlock(2, input)).hidden.states.data;
    expect(await run(own)).toEqual(plain);

    const neurons = own.tensors.get("mlp.down")!.shape[1];
    const more = [...range(neurons).reverse(), -1, -1, -1];
    const wider = changed(own, {
      "mlp.gate": (t) => pick(t, 0, more),
      "mlp.up": (t) => pick(t, 0, more),
      "mlp.down": (t) => pick(t, 1, more),
    });
    expect(distance(await run(wider), plain)).toBeLessThan(1e-5);

    // Without what the last key/value head's group feeds, the group can go.
    const { mixer } = checkpoint.architecture.blocks[2];
    if (mixer.kind !== "attention") throw new Error("llama has attention");
    const { headCount, keyValueHeadCount, headSize } = mixer;
    const queries = (headCount / keyValueHeadCount) * (keyValueHeadCount - 1) * headSize;
    const keys = (keyValueHeadCount - 1) * headSize;
    const silent = range(headCount * headSize).map((i) => (i < queries ? i : -1));
    const silenced = await run(changed(own, { "attention.output": (t) => pick(t, 1, silent) }));
    const narrower = changed(own, {
      "attention.query": (t) => pick(t, 0, range(queries)),
      "attention.key": (t) => pick(t, 0, range(keys)),
      "attention.value": (t) => pick(t, 0, range(keys)),
      "attention.output": (t) => pick(t, 1, range(queries)),
    });
    expect(distance(silenced, plain)).toBeGreaterThan(1e-3);
    expect(distance(await run(narrower), silenced)).toBeLessThan(1e-5);
  });

  it("rounds what linear maps read, token by token, where activations have few bits", async () => {
    const rounded = await openRunner(checkpoint, { threads: 1, activationBits: 4 });
    const input = await rounded.embed(batch);
    const taps: Tap[] = ["mlp.hidden", "mlp.update"];
    const { taps: found } = await rounded.runBlock(0, input, { taps });
    const { data, shape } = found.get("mlp.hidden")!;
    const width = shape[2];
    const codes = data.map((x, i) => {
      const token = data.subarray(i - (i % width), i - (i % width) + width);
      const scale = Math.fround(token.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 7.5);
      const steps = Math.fround(x / scale);
      // A token's largest value lies half way between two codes, and the even one is taken.
      const code = Math.abs(steps % 1) === 0.5 ? 2 * Math.round(steps / 2) : Math.round(steps);
      return scale * Math.min(Math.max(code, -8), 7);
    });
    const down = (await rounded.block(0)).tensors.get("mlp.down")!;
    const wanted = await portableEngine().matmul<Tensor>(tensor(codes, [data.length / width, width]), down, {
      transposeB: true,
    });
    expect(distance(wanted.data, found.get("mlp.update")!.data)).toBeLessThan(1e-5);
    const exact = await runner.runBlock(0, input, { taps });
    expect(distance(exact.taps.get("mlp.update")!.data, found.get("mlp.update")!.data)).toBeGreaterThan(1e-3);
    await rounded.close();
  });

  it("keeps no more blocks than asked", async () => {
    const { tensors } = await runner.block(0);
    const bytes = Array.from(tensors.values()).reduce((sum, { data }) => sum + data.byteLength, 0);
    const reads: number[] = [];
    const counted: Checkpoint = {
      ...checkpoint,
      block: (layer) => {
        reads.push(layer);
        return checkpoint.block(layer);
      },
    };
    const small = await openRunner(counted, { threads: 1, cacheBytes: 2 * bytes });
    for (const layer of [0, 1, 0, 2, 0, 1]) await small.block(layer);
    expect(reads).toEqual([0, 1, 2, 1]);
    await small.close();
  });

  it("refuses what a block does not have", async () => {
    const input = await runner.embed(batch);
    await expect(runner.runBlock(9, input)).rejects.toMatchObject({ code: "LAYER_OUT_OF_RANGE" });
    await expect(runner.block(-1)).rejects.toMatchObject({ code: "LAYER_OUT_OF_RANGE" });
    const own = await runner.block(0);
    const tensors = new Map(own.tensors);
    tensors.delete("mlp.up");
    await expect(runner.runBlock(0, input, { replace: { ...own, tensors } })).rejects.toMatchObject({
      code: "TENSOR_MISSING",
    });
    const experts = await openCheckpoint(`${folder}mixtral`);
    const sparse = await openRunner(experts, { threads: 1 });
    const stream = await sparse.embed(batch);
    await expect(sparse.runBlock(0, stream, { taps: ["mlp.hidden"] })).rejects.toMatchObject({
      code: "TAP_UNKNOWN",
    });
    await sparse.close();
    await experts.close();
  });
});
