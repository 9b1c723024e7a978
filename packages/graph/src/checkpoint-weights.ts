import { dirname, isAbsolute, relative, sep } from "node:path";
import type { Checkpoint } from "@layerfold/checkpoint";
import { LayerfoldError } from "@layerfold/core";
import { type GraphBuilder, isOnnxDType, type Value } from "@layerfold/onnx";

/** A checkpoint's tensors as initializers that stay in its own safetensors. */
export interface CheckpointWeights {
  /** Absolute folder that all files lie under: the session's `externalFolder`. */
  readonly folder: string;
  /** The tensor as it is stored. @throws TENSOR_MISSING, DTYPE_UNSUPPORTED */
  stored(graph: GraphBuilder, name: string): Value;
  /** The tensor as float32; ONNX Runtime converts it once, when it loads the graph. */
  float(graph: GraphBuilder, name: string): Value;
}

/**
 * Points into the checkpoint's files. ONNX Runtime takes one folder per session and follows no link out of it, so the folder is the
 * deepest one that holds every file, links resolved (in the hub's cache the shards are links to blobs).
 *
 * @throws CHECKPOINT_SCATTERED where the files have no folder in common (Windows, several drives)
 */
export function checkpointWeights(checkpoint: Checkpoint): CheckpointWeights {
  const files = new Set(Array.from(checkpoint.tensors.values(), (tensor) => tensor.file));
  const folder = commonFolder([...files]);

  function stored(graph: GraphBuilder, name: string): Value {
    const tensor = checkpoint.tensors.get(name);
    if (!tensor)
      throw new LayerfoldError("TENSOR_MISSING", `no tensor ${name}`, { where: checkpoint.directory });
    const { dtype, shape, file, byteOffset, byteLength } = tensor;
    if (!isOnnxDType(dtype)) {
      throw new LayerfoldError("DTYPE_UNSUPPORTED", "cannot run weights of this element type", {
        wanted: "float64, float32, float16 or bfloat16",
        got: dtype,
        where: `${file}, ${name}`,
      });
    }
    const location = relative(folder, file).split(sep).join("/");
    return graph.external(name, { dtype, shape, location, byteOffset, byteLength });
  }

  return {
    folder,
    stored,
    float(graph, name) {
      const value = stored(graph, name);
      return checkpoint.tensors.get(name)?.dtype === "float32" ? value : graph.cast(value, "float32");
    },
  };
}

function commonFolder(files: readonly string[]): string {
  const holds = (folder: string) =>
    files.every((file) => {
      const path = relative(folder, file);
      return !isAbsolute(path) && path !== ".." && !path.startsWith(`..${sep}`);
    });
  let folder = dirname(files[0]);
  while (!holds(folder)) {
    const parent = dirname(folder);
    if (parent === folder) {
      throw new LayerfoldError("CHECKPOINT_SCATTERED", "the checkpoint's files have no folder in common", {
        wanted: "all files on one drive",
        got: files.join(", "),
      });
    }
    folder = parent;
  }
  return folder;
}
