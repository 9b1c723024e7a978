import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { softwareGpu } from "@layerfold/testkit";
import { beforeAll, describe, expect, it } from "vitest";
import { deviceName } from "./device.js";
import { graphBuilder } from "./graph-builder.js";
import { onnxTensor, openSession } from "./session.js";

/** Its second product is an operator that WebGPU's provider lacks. */
function twoProducts(): Uint8Array {
  const graph = graphBuilder();
  const x = graph.input("x", "float32", ["rows", 2]);
  const w = graph.input("w", "float32", [2, 2]);
  graph.output("plain", graph.node("MatMul", [x, w]), "float32", ["rows", 2]);
  const turned = graph.node("FusedMatMul", [x, w], { contrib: true, ints: { transB: 1 }, name: "turned" });
  graph.output("fused", turned, "float32", ["rows", 2]);
  return graph.build();
}

function product(count: number): Uint8Array {
  const graph = graphBuilder({ device: "webgpu" });
  const all = graph.node("Mul", [
    graph.input("column", "float32", [count, 1]),
    graph.input("row", "float32", [1, count]),
  ]);
  const sum = graph.node("ReduceSum", [all, graph.constant("int64", [0, 1])]);
  graph.output("sum", sum, "float32", [1, 1]);
  return graph.build();
}

const x = onnxTensor("float32", new Float32Array([1, 2]), [1, 2]);
const w = onnxTensor("float32", new Float32Array([1, 10, 100, 1000]), [2, 2]);

it("names the device and whose kernels it runs, but not the CPU", () => {
  const { version } = createRequire(import.meta.url)("onnxruntime-node/package.json");
  expect(deviceName({})).toBeUndefined();
  expect(deviceName({ device: "cpu", allowFallback: true })).toBeUndefined();
  expect(deviceName({ device: "webgpu" })).toBe(`webgpu of onnxruntime-node ${version}`);
  expect(deviceName({ device: "cuda", allowFallback: true })).toBe(
    `cuda of onnxruntime-node ${version}, with fallback`,
  );
});

const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
const cudaLibrary = join(runtime, "bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so");

it.skipIf(existsSync(cudaLibrary))("says what CUDA needs where it is not installed", async () => {
  await expect(openSession(twoProducts(), { device: "cuda" })).rejects.toMatchObject({
    code: "DEVICE_UNAVAILABLE",
    fault: "environment",
    wanted: expect.stringContaining("CUDA 12"),
  });
});

describe("WebGPU", () => {
  it("is missed where there is no adapter", async () => {
    process.env.VK_ICD_FILENAMES = "/nowhere.json";
    process.env.VK_DRIVER_FILES = "/nowhere.json";
    const opened = openSession(twoProducts(), { device: "webgpu" });
    if (process.platform === "linux") {
      await expect(opened).rejects.toMatchObject({
        code: "DEVICE_UNAVAILABLE",
        fault: "environment",
        wanted: expect.stringContaining("Vulkan"),
      });
    } else await (await opened).close();
  });

  describe.skipIf(!softwareGpu())("in software", () => {
    beforeAll(softwareGpu);

    it("refuses a graph of which a node would run on the CPU, by the node's name", async () => {
      await expect(openSession(twoProducts(), { device: "webgpu" })).rejects.toMatchObject({
        code: "DEVICE_FALLBACK",
        reason: "nodes of the graph would run on the CPU: FusedMatMul turned",
      });
    });

    it("says so where none has its place there", async () => {
      const graph = graphBuilder();
      const short = graph.cast(graph.input("x", "float32", ["rows"]), "float8_e4m3");
      graph.output("y", graph.cast(short, "float32"), "float32", ["rows"]);
      await expect(openSession(graph.build(), { device: "webgpu" })).rejects.toMatchObject({
        code: "DEVICE_FALLBACK",
        reason: "nodes of the graph would run on the CPU: all 2",
      });
    });

    it("runs it when that is allowed", async () => {
      const session = await openSession(twoProducts(), { device: "webgpu", allowFallback: true });
      const { plain, fused } = await session.run({ x, w });
      expect(plain.data).toEqual(new Float32Array([201, 2010]));
      expect(fused.data).toEqual(new Float32Array([21, 2100]));
      await session.close();
    });

    it("says when the device has no room, and goes on with what fits", async () => {
      const counts = [60_000, 1000];
      const [large, small] = await Promise.all(
        counts.map((count) => openSession(product(count), { device: "webgpu" })),
      );
      const feeds = (count: number) => ({
        column: onnxTensor("float32", new Float32Array(count).fill(2), [count, 1]),
        row: onnxTensor("float32", new Float32Array(count).fill(0.5), [1, count]),
      });
      // 14.4 GB.
      await expect(large.run(feeds(60_000))).rejects.toMatchObject({ code: "DEVICE_MEMORY" });
      expect((await small.run(feeds(1000))).sum.data[0]).toBe(1_000_000);
      await Promise.all([large.close(), small.close()]);
    });
  });
});
