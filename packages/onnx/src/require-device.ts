import { LayerfoldError } from "@layerfold/core";
import { listSupportedBackends } from "onnxruntime-node";
import type { Device } from "./device.js";
import { graphBuilder } from "./graph-builder.js";
import { openElsewhere } from "./open-elsewhere.js";

/** What a machine must have, for whoever lacks it. */
const needs: Readonly<Record<Exclude<Device, "cpu">, string>> = {
  webgpu: "a GPU with a Vulkan, Direct3D 12 or Metal driver",
  cuda: "an NVIDIA GPU with its driver, CUDA 12, cuDNN 9, and ONNX Runtime's CUDA library (node node_modules/onnxruntime-node/script/install.js --onnxruntime-node-install=cuda12)",
};

const found = new Map<Device, Promise<void>>();

/**
 * Makes sure that a device can be used, by a tiny graph in another process: what drivers write stays off the terminal. A device that was found
 * is not looked for again.
 * @throws DEVICE_UNAVAILABLE
 */
export async function requireDevice(device: Exclude<Device, "cpu">): Promise<void> {
  let looked = found.get(device);
  if (!looked) {
    looked = look(device);
    looked.catch(() => found.delete(device));
    found.set(device, looked);
  }
  await looked;
}

async function look(device: Exclude<Device, "cpu">): Promise<void> {
  const here = listSupportedBackends().map(({ name }) => name);
  if (!here.includes(device)) {
    throw unavailable(
      device,
      `onnxruntime-node for ${process.platform} ${process.arch} has ${here.join(", ")}`,
    );
  }
  const graph = graphBuilder();
  const x = graph.input("x", "float32", [1]);
  graph.output("y", graph.node("Add", [x, x]), "float32", [1]);
  const { refusal } = await openElsewhere(graph.build(), { executionProviders: [device] });
  if (refusal !== undefined) throw unavailable(device, reasonOf(refusal));
}

function unavailable(device: Exclude<Device, "cpu">, got: string): LayerfoldError {
  return new LayerfoldError("DEVICE_UNAVAILABLE", `there is no ${device} here`, {
    wanted: `${needs[device]}, or device cpu`,
    got,
    fault: "environment",
  });
}

/** Without the source line that ONNX Runtime puts before its reasons. */
function reasonOf(refusal: string): string {
  return (/(?:was false\.|error:) *(.+)/is.exec(refusal)?.[1] ?? refusal).trim();
}
