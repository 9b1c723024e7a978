import { create, toBinary } from "@bufbuild/protobuf";
import { LayerfoldError } from "@layerfold/core";
import {
  type AttributeProto,
  AttributeProtoSchema,
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
  type GraphProto,
  GraphProtoSchema,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "onnx-buf";
import type { Device, DeviceOptions } from "./device.js";

/** ONNX Runtime 1.19 and later read these. */
const irVersion = 10n;
const opset = 21n;
/** ONNX Runtime's own operators: FusedMatMul, GroupQueryAttention, QuickGelu, … */
const contribDomain = "com.microsoft";

const dataTypes = {
  float64: DataType.DOUBLE,
  float32: DataType.FLOAT,
  float16: DataType.FLOAT16,
  bfloat16: DataType.BFLOAT16,
  int64: DataType.INT64,
  int32: DataType.INT32,
  int16: DataType.INT16,
  int8: DataType.INT8,
  uint64: DataType.UINT64,
  uint32: DataType.UINT32,
  uint16: DataType.UINT16,
  uint8: DataType.UINT8,
  uint4: DataType.UINT4,
  float8_e4m3: DataType.FLOAT8E4M3FN,
  bool: DataType.BOOL,
} as const;

/** Element types that a graph may hold. */
export type OnnxDType = keyof typeof dataTypes;

/** Whether a graph can hold the element type. */
export function isOnnxDType(dtype: string): dtype is OnnxDType {
  return Object.hasOwn(dataTypes, dtype);
}

/** A value of the graph, by its name; "" stands for an optional input that is left out. */
export type Value = string;

/** A length, or the name of a length that is known when the graph runs. */
export type Dimension = number | string;

export interface NodeOptions {
  /** Name of the first output; default made up. */
  readonly name?: string;
  /** Number of outputs; default 1. */
  readonly outputs?: number;
  /** The operator is one of ONNX Runtime's own. */
  readonly contrib?: boolean;
  readonly ints?: Readonly<Record<string, number | readonly number[]>>;
  readonly floats?: Readonly<Record<string, number | readonly number[]>>;
  readonly strings?: Readonly<Record<string, string>>;
  readonly graphs?: Readonly<Record<string, GraphBuilder>>;
}

/** A tensor that stays in its file. */
export interface ExternalTensor {
  readonly dtype: OnnxDType;
  readonly shape: readonly number[];
  /** Path relative to the session's `externalFolder`, with forward slashes. */
  readonly location: string;
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Writes an ONNX graph node by node; values are known by name. */
export interface GraphBuilder {
  /** Where the graph is to run: whoever writes nodes takes operators that this device has. */
  readonly device: Device;
  /** A value that is given at every run; naming it again gives the same value. */
  input(name: string, dtype: OnnxDType, shape: readonly Dimension[]): Value;
  /** Makes `value` an output under that name. */
  output(name: string, value: Value, dtype: OnnxDType, shape: readonly Dimension[]): void;
  /** Adds a node and returns its first output. */
  node(operator: string, inputs: readonly Value[], options?: NodeOptions): Value;
  /** Adds a node and returns all its outputs. */
  nodes(operator: string, inputs: readonly Value[], options: NodeOptions): Value[];
  /** `value` as another element type. */
  cast(value: Value, dtype: OnnxDType): Value;
  /** Values inside the graph; equal ones are stored once. Default shape: one axis, and none for a plain number. */
  constant(
    dtype: "float32" | "int64" | "int32",
    values: number | readonly number[] | Float32Array,
    shape?: readonly number[],
  ): Value;
  /** Bytes of any element type inside the graph; naming it again gives the same value. All graphs' values together must be under 2 GiB. */
  data(name: string, dtype: OnnxDType, shape: readonly number[], bytes: Uint8Array): Value;
  /** A tensor on disk, under its own name; naming it again gives the same value. */
  external(name: string, tensor: ExternalTensor): Value;
  /** A graph for an operator's body (Scan, If, Loop); it sees this graph's values. */
  subgraph(): GraphBuilder;
  /** The model as ONNX bytes (ir 10, opset 21 and com.microsoft 1), without what no output needs. @throws GRAPH_TOO_LARGE */
  build(): Uint8Array;
}

interface Content {
  readonly node: NodeProto[];
  readonly initializer: TensorProto[];
  readonly input: ValueInfoProto[];
  readonly output: ValueInfoProto[];
}

/** Graphs of subgraph builders, for the attribute that holds them. */
const contents = new WeakMap<GraphBuilder, Content>();

/**
 * A new, empty graph.
 *
 * @param options.device - where it is to run; default the CPU
 *
 * @example
 * ```ts
 * const graph = graphBuilder();
 * const x = graph.input("x", "float32", ["rows", 2]);
 * graph.output("y", graph.node("Mul", [x, graph.constant("float32", 2)]), "float32", ["rows", 2]);
 * const session = await openSession(graph.build());
 * const { y } = await session.run({ x: { dtype: "float32", shape: [1, 2], data: new Float32Array([1, 2]) } });
 * assert(y.data[1] === 4);
 * ```
 */
export function graphBuilder({ device = "cpu" }: Pick<DeviceOptions, "device"> = {}): GraphBuilder {
  let count = 0;
  return scope((operator) => `${operator}_${count++}`, device);
}

function scope(freshName: (operator: string) => string, device: Device): GraphBuilder {
  const content: Content = { node: [], initializer: [], input: [], output: [] };
  const known = new Map<string, Value>();

  function nodes(operator: string, inputs: readonly Value[], options: NodeOptions): Value[] {
    const name = options.name ?? freshName(operator);
    const outputs = Array.from({ length: options.outputs ?? 1 }, (_, i) => (i === 0 ? name : `${name}.${i}`));
    content.node.push(
      create(NodeProtoSchema, {
        name,
        opType: operator,
        domain: options.contrib ? contribDomain : "",
        input: [...inputs],
        output: outputs,
        attribute: attributesOf(options),
      }),
    );
    return outputs;
  }

  const builder: GraphBuilder = {
    device,
    input(name, dtype, shape) {
      if (known.has(name)) return name;
      known.set(name, name);
      content.input.push(valueInfo(name, dtype, shape));
      return name;
    },
    output(name, value, dtype, shape) {
      // An output needs a name of its own, so that one value may be returned under two names.
      if (name !== value) nodes("Identity", [value], { name });
      content.output.push(valueInfo(name, dtype, shape));
    },
    node: (operator, inputs, options = {}) => nodes(operator, inputs, options)[0],
    nodes,
    cast: (value, dtype) => nodes("Cast", [value], { ints: { to: dataTypes[dtype] } })[0],
    constant(dtype, values, shape = typeof values === "number" ? [] : [values.length]) {
      const list = typeof values === "number" ? [values] : values;
      const key = `${dtype} [${shape}] ${list.length <= 64 ? list.join() : freshName("constant")}`;
      const existing = known.get(key);
      if (existing !== undefined) return existing;
      const name = freshName("constant");
      const data =
        dtype === "int64"
          ? BigInt64Array.from(list, BigInt)
          : dtype === "int32"
            ? Int32Array.from(list)
            : Float32Array.from(list);
      content.initializer.push(
        create(TensorProtoSchema, {
          name,
          dataType: dataTypes[dtype],
          dims: shape.map(BigInt),
          rawData: new Uint8Array(data.buffer),
        }),
      );
      known.set(key, name);
      return name;
    },
    data(name, dtype, shape, bytes) {
      if (known.has(name)) return name;
      known.set(name, name);
      content.initializer.push(
        create(TensorProtoSchema, {
          name,
          dataType: dataTypes[dtype],
          dims: shape.map(BigInt),
          rawData: bytes as Uint8Array<ArrayBuffer>,
        }),
      );
      return name;
    },
    external(name, { dtype, shape, location, byteOffset, byteLength }) {
      if (known.has(name)) return name;
      const place = { location, offset: `${byteOffset}`, length: `${byteLength}` };
      content.initializer.push(
        create(TensorProtoSchema, {
          name,
          dataType: dataTypes[dtype],
          dims: shape.map(BigInt),
          dataLocation: DataLocation.EXTERNAL,
          externalData: Object.entries(place).map(([key, value]) =>
            create(StringStringEntryProtoSchema, { key, value }),
          ),
        }),
      );
      known.set(name, name);
      return name;
    },
    subgraph: () => scope(freshName, device),
    build() {
      const inside = content.initializer.reduce((sum, { rawData }) => sum + rawData.byteLength, 0);
      if (inside >= 2 ** 31) {
        throw new LayerfoldError("GRAPH_TOO_LARGE", "a graph can hold only so much beside its files", {
          wanted: "less than 2 GiB",
          got: `${inside} bytes`,
        });
      }
      return toBinary(
        ModelProtoSchema,
        create(ModelProtoSchema, {
          irVersion,
          producerName: "layerfold",
          graph: graphProto(needed(content), "layerfold"),
          opsetImport: [
            create(OperatorSetIdProtoSchema, { domain: "", version: opset }),
            create(OperatorSetIdProtoSchema, { domain: contribDomain, version: 1n }),
          ],
        }),
      );
    },
  };
  contents.set(builder, content);
  return builder;
}

function graphProto(content: Content, name: string): GraphProto {
  return create(GraphProtoSchema, { name, ...content });
}

/** The part of a graph that its outputs depend on. */
function needed({ node, initializer, input, output }: Content): Content {
  const read = new Set(output.map(({ name }) => name));
  const kept: NodeProto[] = [];
  // Producers stand before their consumers.
  for (const candidate of node.toReversed()) {
    if (!candidate.output.some((name) => read.has(name))) continue;
    kept.push(candidate);
    for (const name of candidate.input) read.add(name);
    for (const { g } of candidate.attribute) if (g) addReads(g, read);
  }
  return {
    node: kept.reverse(),
    initializer: initializer.filter(({ name }) => read.has(name)),
    input: input.filter(({ name }) => read.has(name)),
    output,
  };
}

/** Adds every name that a body reads, be it its own or the outer graph's. */
function addReads({ node, output }: GraphProto, read: Set<string>): void {
  for (const { name } of output) read.add(name);
  for (const { input, attribute } of node) {
    for (const name of input) read.add(name);
    for (const { g } of attribute) if (g) addReads(g, read);
  }
}

function valueInfo(name: string, dtype: OnnxDType, shape: readonly Dimension[]): ValueInfoProto {
  const dim = shape.map((length) =>
    create(TensorShapeProto_DimensionSchema, {
      value:
        typeof length === "number"
          ? { case: "dimValue", value: BigInt(length) }
          : { case: "dimParam", value: length },
    }),
  );
  return create(ValueInfoProtoSchema, {
    name,
    type: create(TypeProtoSchema, {
      value: {
        case: "tensorType",
        value: create(TypeProto_TensorSchema, {
          elemType: dataTypes[dtype],
          shape: create(TensorShapeProtoSchema, { dim }),
        }),
      },
    }),
  });
}

function attributesOf({ ints = {}, floats = {}, strings = {}, graphs = {} }: NodeOptions): AttributeProto[] {
  const attributes: AttributeProto[] = [];
  for (const [name, value] of Object.entries(ints)) {
    attributes.push(
      typeof value === "number"
        ? create(AttributeProtoSchema, { name, type: AttributeType.INT, i: BigInt(value) })
        : create(AttributeProtoSchema, { name, type: AttributeType.INTS, ints: value.map(BigInt) }),
    );
  }
  for (const [name, value] of Object.entries(floats)) {
    attributes.push(
      typeof value === "number"
        ? create(AttributeProtoSchema, { name, type: AttributeType.FLOAT, f: value })
        : create(AttributeProtoSchema, { name, type: AttributeType.FLOATS, floats: [...value] }),
    );
  }
  for (const [name, value] of Object.entries(strings)) {
    const s = new TextEncoder().encode(value);
    attributes.push(create(AttributeProtoSchema, { name, type: AttributeType.STRING, s }));
  }
  for (const [name, graph] of Object.entries(graphs)) {
    const content = contents.get(graph);
    if (!content) throw new LayerfoldError("GRAPH_FOREIGN", "not a graph of this builder", { where: name });
    attributes.push(
      create(AttributeProtoSchema, { name, type: AttributeType.GRAPH, g: graphProto(content, name) }),
    );
  }
  return attributes;
}
