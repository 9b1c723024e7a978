import { LayerfoldError } from "@layerfold/core";
import type { OnnxModel, OnnxNode, OnnxPlace } from "@layerfold/onnx";

/** Where a model's residual stream can be read: `[0]` the embeddings, `[l + 1]` after block l. */
export type StreamPlaces = readonly OnnxPlace[];

/** How to find the stream where the graph does not tell. */
export interface TapNames {
  /** Name of the value that block l leaves in the stream, `{layer}` standing for l. */
  readonly block: string;
  /** Name of the stream before block 0; default: found from block 0's own. */
  readonly embeddings?: string;
}

/** Operators that hand a value on under another name or element type. */
const handsOn = new Set(["Identity", "Cast", "Dropout"]);
/** Operators whose first input alone is the data. */
const selects = new Set([
  "Gather",
  "Slice",
  "Reshape",
  "Squeeze",
  "Unsqueeze",
  "Expand",
  "Transpose",
  "GatherND",
]);
/** ONNX Runtime's fused addition and norm; the sum is its fourth output. */
const addsAndNorms = new Set(["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"]);

/**
 * Finds the residual stream of a decoder by what its graph does, whatever its nodes are called. The stream is the chain of additions
 * x + f(x), x being needed for f(x): the last of them is what the final norm reads, and each one's x is the one before, down to the
 * embeddings. A block adds once (parallel) or twice (attention, then MLP), so the number of layers says which sums end a block.
 *
 * @throws RESIDUAL_NOT_FOUND saying how far the search came; name the values with `tap` then
 */
export function findResidualStream(model: OnnxModel, where: string): StreamPlaces {
  const graph = dataflow(model);
  const logits = model.outputNames.find((name) => name === "logits") ?? model.outputNames[0];
  const last = graph.lastSum(logits);
  if (!last) throw notFound(where, `no addition x + f(x) before the output ${logits}`);
  const chain = graph.chainBefore(last);
  const sums = chain.length - 1;
  const layerCount = countLayers(model);
  if (layerCount === 0 || sums % layerCount !== 0) {
    throw notFound(where, `${sums} additions to the stream for ${layerCount} layers`);
  }
  const perBlock = sums / layerCount;
  return chain.filter((_, index) => index % perBlock === 0);
}

/**
 * The places of values that the user names.
 * @throws RESIDUAL_NOT_FOUND when the graph has no such value
 */
export function namedResidualStream(model: OnnxModel, tap: TapNames, where: string): StreamPlaces {
  const graph = dataflow(model);
  const blocks: OnnxPlace[] = [];
  for (let layer = 0; ; layer++) {
    const place = graph.placeOf(tap.block.replaceAll("{layer}", `${layer}`));
    if (!place) break;
    blocks.push(place);
    if (!tap.block.includes("{layer}")) break;
  }
  if (blocks.length === 0) {
    throw notFound(where, `no value ${tap.block.replaceAll("{layer}", "0")}`);
  }
  const embeddings =
    tap.embeddings === undefined ? graph.chainBefore(blocks[0])[0] : graph.placeOf(tap.embeddings);
  const isBlock = embeddings?.node === blocks[0].node && embeddings.output === blocks[0].output;
  if (!embeddings || isBlock) {
    throw notFound(where, `no value ${tap.embeddings ?? "that block 0 adds to"}`);
  }
  return [embeddings, ...blocks];
}

function notFound(where: string, got: string): LayerfoldError {
  return new LayerfoldError(
    "RESIDUAL_NOT_FOUND",
    "cannot find the residual stream in this graph; name its values with tap",
    {
      wanted: "one or two additions to the stream per layer",
      got,
      where,
    },
  );
}

/** Layers, from the key/value caches that the model takes, else from its attention operators. */
function countLayers({ inputs, nodes }: OnnxModel): number {
  const caches = inputs.filter(({ name }) => /^(past|cache).*\bkey$/i.test(name)).length;
  if (caches > 0) return caches;
  const fused = nodes.filter(({ operator }) => /^(GroupQuery|MultiHead|)Attention$/.test(operator)).length;
  return fused > 0 ? fused : nodes.filter(({ operator }) => operator === "Softmax").length;
}

/** Questions about which value comes from which. */
function dataflow({ nodes, initializerNames }: OnnxModel) {
  const producer = new Map<string, OnnxPlace>();
  nodes.forEach(({ outputs }, node) => {
    outputs.forEach((name, output) => {
      if (name !== "") producer.set(name, { node, output });
    });
  });
  const constant = new Set(initializerNames);
  for (const { inputs, outputs } of nodes) {
    if (inputs.every((name) => name === "" || constant.has(name)))
      for (const name of outputs) constant.add(name);
  }
  const varying = ({ inputs }: OnnxNode) => inputs.filter((name) => name !== "" && !constant.has(name));

  /** Whether a value is computed from node `first`. Producers stand before consumers, so the search need not look further back. */
  function comesFrom(value: string, first: number): boolean {
    const seen = new Set<number>();
    const open = [value];
    for (let name = open.pop(); name !== undefined; name = open.pop()) {
      const node = producer.get(name)?.node ?? -1;
      if (node === first) return true;
      if (node < first || seen.has(node)) continue;
      seen.add(node);
      open.push(...varying(nodes[node]));
    }
    return false;
  }

  /** Of two values, the one that the other is computed from: from it, or from what its node gives beside it (the norm of a fused sum). */
  function earlier(a: string, b: string): string | undefined {
    const [nodeA, nodeB] = [a, b].map((name) => producer.get(name)?.node ?? -1);
    if (nodeA === nodeB) return undefined;
    const [first, second, node] = nodeA < nodeB ? [a, b, nodeA] : [b, a, nodeB];
    return node >= 0 && comesFrom(second, node) ? first : undefined;
  }

  /** If the node adds f(x) to x: the place of the sum, and x. */
  function addition(node: number): { sum: OnnxPlace; before: string } | undefined {
    const { operator, inputs } = nodes[node];
    const fused = addsAndNorms.has(operator);
    if (!fused && operator !== "Add") return undefined;
    const [a, b] = inputs;
    if (constant.has(a) || constant.has(b)) return undefined;
    const before = earlier(a, b);
    return before === undefined ? undefined : { sum: { node, output: fused ? 3 : 0 }, before };
  }

  /** The producer of a value, looked at through operators that only hand it on. */
  function origin(name: string): OnnxPlace | undefined {
    let place = producer.get(name);
    while (place && handsOn.has(nodes[place.node].operator))
      place = producer.get(nodes[place.node].inputs[0]);
    return place;
  }

  return {
    placeOf: (name: string) => producer.get(name),

    /** The last x + f(x) that a value comes from, going back through head and final norm. */
    lastSum(from: string): OnnxPlace | undefined {
      let name: string | undefined = from;
      while (name !== undefined) {
        const place = producer.get(name);
        if (!place) return undefined;
        const found = addition(place.node);
        if (found) return found.sum;
        const node: OnnxNode = nodes[place.node];
        const ways = selects.has(node.operator) ? [node.inputs[0]] : [...new Set(varying(node))];
        // A norm that is written out reads its input twice: x · 1/rms(x), x − mean(x). Go on with x.
        name = ways.length === 2 ? earlier(ways[0], ways[1]) : ways.length === 1 ? ways[0] : undefined;
      }
      return undefined;
    },

    /** The stream's places from the embeddings to `last`, both among them. */
    chainBefore(last: OnnxPlace): OnnxPlace[] {
      const chain = [last];
      for (let found = addition(last.node); found; ) {
        const place = origin(found.before);
        if (!place) break;
        found = addition(place.node);
        // The norm's output of a fused node is no stream.
        if (found && found.sum.output !== place.output) found = undefined;
        chain.unshift(place);
      }
      return chain;
    },
  };
}
