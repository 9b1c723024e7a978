import {
  type Checkpoint,
  quantizedModules,
  type TensorSource,
  type WrittenCheckpoint,
  writeCheckpoint,
} from "@layerfold/checkpoint";
import {
  type BlockSpec,
  type BlockView,
  contiguousData,
  encodeFloats,
  type RunContext,
  type Tensor,
  tensor,
} from "@layerfold/core";
import { transposed } from "./bitstream.js";
import { dequantize } from "./dequantize.js";
import { readQuantizedModule } from "./quantized-modules.js";

/** Float types in which a dense checkpoint can be written. */
export type DenseDType = "float32" | "bfloat16" | "float16";

/**
 * A quantised checkpoint seen as a dense one: `read` and `block` give dequantised weights, in float32 and exact. `tensors` still lists what
 * lies on disk. For whoever runs or folds block by block without a dense copy.
 */
export function dequantizedCheckpoint(checkpoint: Checkpoint, report?: RunContext["report"]): Checkpoint {
  const modules = new Set(quantizedModules(checkpoint));
  const layouts = new Map<string, BlockSpec["linearLayout"]>();
  for (const { tensors, linearLayout } of checkpoint.architecture.blocks) {
    for (const name of tensors.values()) layouts.set(name, linearLayout);
  }
  const read = async (name: string): Promise<Tensor<Float32Array>> => {
    const module = name.replace(/\.weight$/, "");
    if (!name.endsWith(".weight") || !modules.has(module)) return checkpoint.read(name);
    const weight = dequantize(await readQuantizedModule(checkpoint, module, report));
    const [rows, columns] = weight.shape;
    return layouts.get(name) === "in-out"
      ? tensor(transposed(contiguousData(weight), rows, columns), [columns, rows])
      : weight;
  };
  const { quantization_config: _, ...config } = checkpoint.config;
  return {
    ...checkpoint,
    config,
    read,
    async block(layer): Promise<BlockView> {
      const spec = checkpoint.architecture.blocks[layer];
      if (!spec) return checkpoint.block(layer);
      const tensors = new Map<string, Tensor>();
      for (const [role, name] of spec.tensors) tensors.set(role, await read(name));
      return { layer, type: spec.type, spec, tensors };
    },
  };
}

/**
 * Writes a dense copy of a GPTQ, AWQ or compressed-tensors checkpoint, one tensor in memory at a time.
 *
 * @param options.dtype - of the weights that were quantised; default that of the checkpoint's norms, which rounds them once more.
 * float32 keeps them exact
 * @throws QUANTIZATION_UNSUPPORTED, QUANTIZED_TENSOR_INVALID, and whatever `writeCheckpoint` throws
 */
export async function dequantizeCheckpoint(
  checkpoint: Checkpoint,
  directory: string,
  options: { readonly dtype?: DenseDType | undefined; readonly force?: boolean | undefined },
  ctx: Pick<RunContext, "signal" | "report">,
): Promise<WrittenCheckpoint> {
  const dense = dequantizedCheckpoint(checkpoint, ctx.report);
  const { dtype = checkpoint.dtype, force } = options;
  const { globals, blocks } = checkpoint.architecture;
  const wanted = new Map<string, readonly number[]>(globals);
  for (const { tensors, shapes } of blocks) {
    for (const [role, name] of tensors) wanted.set(name, shapes.get(role) as readonly number[]);
  }
  const modules = new Set(quantizedModules(checkpoint));
  const tensors = [...wanted].map(([name, shape]): TensorSource => {
    const stored = checkpoint.tensors.get(name);
    if (stored && !modules.has(name.replace(/\.weight$/, ""))) {
      return { name, dtype: stored.dtype, shape: stored.shape, bytes: () => checkpoint.readBytes(name) };
    }
    return {
      name,
      dtype,
      shape,
      bytes: async () => encodeFloats(contiguousData(await dense.read(name)), dtype),
    };
  });
  return writeCheckpoint(
    directory,
    { config: dense.config, tensors, carryFrom: checkpoint, ...(force !== undefined && { force }) },
    ctx,
  );
}
