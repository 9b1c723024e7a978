import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { graphBuilder } from "./graph-builder.js";
import { onnxTensor, openSession } from "./session.js";

it("runs a graph, returns what is wanted, and names one value twice", async () => {
  const graph = graphBuilder();
  const x = graph.input("x", "float32", ["rows", 2]);
  const two = graph.constant("float32", 2);
  expect(graph.constant("float32", 2)).toBe(two);
  const doubled = graph.node("Mul", [x, two]);
  graph.output("a", doubled, "float32", ["rows", 2]);
  graph.output("b", doubled, "float32", ["rows", 2]);
  const session = await openSession(graph.build());
  expect(session.outputNames).toEqual(["a", "b"]);
  const result = await session.run({ x: onnxTensor("float32", new Float32Array([1, -3]), [1, 2]) }, ["b"]);
  expect(result).toEqual({ b: { dtype: "float32", shape: [1, 2], data: new Float32Array([2, -6]) } });
  await session.close();
});

it("carries a body graph that sees the outer values", async () => {
  const graph = graphBuilder();
  const x = graph.input("x", "float32", ["steps"]);
  const one = graph.constant("float32", 1);
  const body = graph.subgraph();
  const sum = body.input("sum", "float32", []);
  const item = body.input("item", "float32", []);
  const next = body.node("Add", [body.node("Add", [sum, item]), one]);
  body.output("next", next, "float32", []);
  body.output("each", next, "float32", []);
  const [, all] = graph.nodes("Scan", [graph.constant("float32", 0), x], {
    outputs: 2,
    ints: { num_scan_inputs: 1 },
    graphs: { body },
  });
  graph.output("sums", all, "float32", ["steps"]);
  const session = await openSession(graph.build());
  const { sums } = await session.run({ x: onnxTensor("float32", new Float32Array([1, 2, 3]), [3]) });
  expect(sums.data).toEqual(new Float32Array([2, 5, 9]));
  await session.close();
});

it("reads a tensor where it lies in a file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "layerfold-onnx-"));
  try {
    // Five bytes of something else, then 1 and −2 as bfloat16.
    await writeFile(join(folder, "weights.bin"), new Uint8Array([9, 9, 9, 9, 9, 0x80, 0x3f, 0x00, 0xc0]));
    const graph = graphBuilder();
    const w = graph.external("w", {
      dtype: "bfloat16",
      shape: [2],
      location: "weights.bin",
      byteOffset: 5,
      byteLength: 4,
    });
    graph.output("y", graph.cast(w, "float32"), "float32", [2]);
    const session = await openSession(graph.build(), { externalFolder: folder });
    expect((await session.run({})).y.data).toEqual(new Float32Array([1, -2]));
    await session.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});

it("says what ONNX Runtime did not like", async () => {
  await expect(openSession(new Uint8Array([1, 2, 3]))).rejects.toMatchObject({ code: "GRAPH_LOAD" });
  const graph = graphBuilder();
  graph.output("y", graph.node("Neg", [graph.input("x", "float32", [2])]), "float32", [2]);
  const session = await openSession(graph.build());
  const wrong = onnxTensor("float32", new Float32Array(3), [3]);
  await expect(session.run({ x: wrong })).rejects.toMatchObject({ code: "GRAPH_RUN" });
  expect(() => onnxTensor("float32", new Float32Array(3), [2])).toThrow(
    expect.objectContaining({ code: "TENSOR_SHAPE" }),
  );
  await session.close();
});
