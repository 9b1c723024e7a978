import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { LayerfoldError } from "@layerfold/core";
import {
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";

/** A value that a model takes. */
export interface OnnxInput {
  readonly name: string;
  /** As sessions name it, "float32" or "int64" for instance. */
  readonly dtype: string;
  /** Lengths, or names of lengths ("" where nameless) that are known when the model runs. */
  readonly shape: readonly (number | string)[];
}

export interface OnnxNode {
  readonly operator: string;
  /** Names of values; "" where an optional one is left out. What the node's subgraphs read from outside comes last. */
  readonly inputs: readonly string[];
  /** Names of values; "" where an optional one is left out. */
  readonly outputs: readonly string[];
}

/** One output of one node: a place that every value but inputs and weights has, be it named or not. */
export interface OnnxPlace {
  /** Index into `nodes`. */
  readonly node: number;
  readonly output: number;
}

/** The graph of an ONNX file, to look at and to ask for inner values. */
export interface OnnxModel {
  /** Without the weights. */
  readonly inputs: readonly OnnxInput[];
  readonly outputNames: readonly string[];
  /** Producers before consumers. */
  readonly nodes: readonly OnnxNode[];
  readonly initializerNames: ReadonlySet<string>;
  /**
   * The same model with other outputs: `tap.0`, `tap.1`, …, each as float32. Nodes and weights that none of them needs are left out.
   * The model itself stays as it is.
   */
  tapped(places: readonly OnnxPlace[]): Uint8Array;
}

const dtypeNames = new Map<number, string>([
  [DataType.FLOAT, "float32"],
  [DataType.FLOAT16, "float16"],
  [DataType.DOUBLE, "float64"],
  [DataType.INT64, "int64"],
  [DataType.INT32, "int32"],
  [DataType.BOOL, "bool"],
]);

/**
 * Reads the bytes of an ONNX file. Weights in files beside it are not touched.
 * @throws ONNX_INVALID
 */
export function readOnnxModel(bytes: Uint8Array, where: string): OnnxModel {
  let model: ModelProto;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    throw new LayerfoldError("ONNX_INVALID", "not an ONNX file", { where, cause });
  }
  const { graph } = model;
  if (!graph || graph.node.length === 0) {
    throw new LayerfoldError("ONNX_INVALID", "the ONNX file holds no graph", { where });
  }
  const initializerNames = new Set(graph.initializer.map(({ name }) => name));
  return {
    // Old files list their weights among the inputs.
    inputs: graph.input.filter(({ name }) => !initializerNames.has(name)).map(describeInput),
    outputNames: graph.output.map(({ name }) => name),
    nodes: graph.node.map((node) => ({
      operator: node.opType,
      inputs: [...node.input, ...capturedBy(node)],
      outputs: node.output,
    })),
    initializerNames,
    tapped: (places) =>
      toBinary(ModelProtoSchema, create(ModelProtoSchema, { ...model, graph: tappedGraph(graph, places) })),
  };
}

function describeInput({ name, type }: ValueInfoProto): OnnxInput {
  const tensor = type?.value.case === "tensorType" ? type.value.value : undefined;
  return {
    name,
    dtype: dtypeNames.get(tensor?.elemType ?? DataType.UNDEFINED) ?? "unknown",
    shape: (tensor?.shape?.dim ?? []).map(({ value }) =>
      value.case === "dimValue" ? Number(value.value) : (value.value ?? ""),
    ),
  };
}

/** Values that a node's subgraphs (If, Loop, Scan) read from outside. */
function capturedBy(node: NodeProto): string[] {
  const names = new Set<string>();
  const visit = (graph: GraphProto) => {
    for (const inner of graph.node) {
      for (const name of inner.input) names.add(name);
      for (const { g } of inner.attribute) if (g) visit(g);
    }
    for (const { name } of graph.output) names.add(name);
  };
  for (const { g } of node.attribute) if (g) visit(g);
  return [...names];
}

function tappedGraph(graph: GraphProto, places: readonly OnnxPlace[]): GraphProto {
  const nodes = [...graph.node];
  const names = places.map(({ node, output }) => {
    const existing = nodes[node].output[output];
    if (existing) return existing;
    // An optional output that the file leaves out comes into being by being named.
    const outputs = Array.from(
      { length: Math.max(output + 1, nodes[node].output.length) },
      (_, i) => nodes[node].output[i] ?? "",
    );
    outputs[output] = `tapped.${node}.${output}`;
    nodes[node] = create(NodeProtoSchema, { ...nodes[node], output: outputs });
    return outputs[output];
  });
  const needed = neededNodes(nodes, names);
  const kept = nodes.filter((_, index) => needed.has(index));
  const read = new Set(kept.flatMap((node) => [...node.input, ...capturedBy(node)]));
  const casts = names.map((name, i) =>
    create(NodeProtoSchema, {
      opType: "Cast",
      input: [name],
      output: [`tap.${i}`],
      attribute: [
        create(AttributeProtoSchema, { name: "to", type: AttributeType.INT, i: BigInt(DataType.FLOAT) }),
      ],
    }),
  );
  return create(GraphProtoSchema, {
    ...graph,
    node: [...kept, ...casts],
    initializer: graph.initializer.filter(({ name }) => read.has(name)),
    input: graph.input.filter(({ name }) => read.has(name)),
    output: casts.map(({ output }) => floatOutput(output[0])),
  });
}

/** Indices of the nodes that the values are made by, directly or not. */
function neededNodes(nodes: readonly NodeProto[], values: readonly string[]): Set<number> {
  const producer = new Map(nodes.flatMap((node, index) => node.output.map((name) => [name, index] as const)));
  const needed = new Set<number>();
  const open = [...values];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    const index = producer.get(name);
    if (name === "" || index === undefined || needed.has(index)) continue;
    needed.add(index);
    open.push(...nodes[index].input, ...capturedBy(nodes[index]));
  }
  return needed;
}

function floatOutput(name: string): ValueInfoProto {
  const value = create(TypeProto_TensorSchema, { elemType: DataType.FLOAT });
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, { value: { case: "tensorType", value } }),
  });
}
