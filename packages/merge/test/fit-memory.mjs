// A process that fits, and cuts back, so many features: `node fit-memory.mjs FEATURES DTYPE`. Prints what its memory grew by, in bytes.
import { tensor } from "@layerfold/core";
import { seededRng } from "@layerfold/linalg";
import { addRows, componentFit, emptyEquations, withoutFeatures } from "@layerfold/merge";
import { onnxEngine } from "@layerfold/onnx";

const [features, dtype] = [Number(process.argv[2]), process.argv[3]];
const [rows, targets] = [64, 8];
const engine = onnxEngine();
const ctx = { rng: seededRng(1), engine };
const normals = (r, c) =>
  tensor(
    Float32Array.from({ length: r * c }, () => ctx.rng.normal()),
    [r, c],
  );
// What the engine loads is not what is measured.
await engine.matmul(normals(8, 8), normals(8, 8));
const before = process.memoryUsage().rss;
const equations = emptyEquations(features, targets, dtype);
await addRows(equations, normals(rows, features), normals(rows, targets), ctx);
const fit = await componentFit(equations, normals(features, targets), 1e-2, ctx, { overwrite: true });
const tenths = Array.from({ length: Math.floor(features / 10) }, (_, i) => 10 * i);
const rest = await withoutFeatures(fit, tenths, ctx);
if (!rest.weights.data.every(Number.isFinite)) throw new Error("no fit");
console.log(process.resourceUsage().maxRSS * 1024 - before);
await engine.close();
