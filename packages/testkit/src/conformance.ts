import {
  type BlockView,
  contiguousData,
  type Floats,
  isLayerfoldError,
  type Matrix,
  type Plugin,
  type ReportEvent,
  tensor,
} from "@layerfold/core";

/**
 * One law that a plug-in must obey. `run` throws an Error that says what was broken; it knows no test framework:
 * `for (const { name, run } of checks) it(name, run)`.
 */
export interface ConformanceCheck {
  readonly name: string;
  run(): Promise<void>;
}

/** Throws unless the condition holds. */
export function ensure(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

/** Whether two numbers agree to a tolerance, relative above 1 and absolute below. */
export function close(a: number, b: number, tolerance: number): boolean {
  return a === b || Math.abs(a - b) <= tolerance * Math.max(1, Math.abs(a), Math.abs(b));
}

/** The matrix as a transposed view into larger data full of NaN: whoever ignores strides or the offset reads those. */
export function stridedCopy(matrix: Matrix): Matrix {
  const [rows, columns] = matrix.shape;
  const values = contiguousData(matrix);
  const width = rows + 2;
  const data = sameKind(matrix.data, (columns + 2) * width).fill(Number.NaN) as Floats;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) data[(j + 1) * width + i + 1] = values[i * columns + j];
  }
  return tensor(data, [rows, columns], [1, width], width + 1);
}

/** The matrix with its rows in the given order. */
export function permutedRows(matrix: Matrix, order: Int32Array): Matrix {
  const [rows, columns] = matrix.shape;
  const values = contiguousData(matrix);
  const data = sameKind(matrix.data, rows * columns);
  order.forEach((from, to) => {
    data.set(values.subarray(from * columns, (from + 1) * columns), to * columns);
  });
  return tensor(data, [rows, columns]);
}

function sameKind(data: Floats, length: number): Floats {
  return data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length);
}

/** What every plug-in carries: its kind, an id in kebab-case, and options that survive JSON. */
export function identityCheck(kind: string, make: () => Plugin): ConformanceCheck {
  return {
    name: "carries kind, id and JSON options",
    async run() {
      const { kind: got, id, options } = make();
      ensure(got === kind, `kind is "${got}" instead of "${kind}"`);
      ensure(/^[a-z0-9]+(-[a-z0-9]+)*$/.test(id), `id "${id}" is not in kebab-case`);
      ensure(typeof options === "object" && options !== null, `${id}: it has no options`);
      const copy = JSON.stringify(JSON.parse(JSON.stringify(options)));
      ensure(copy === JSON.stringify(options), `${id}: options do not survive JSON`);
    },
  };
}

/** Runs what should be refused; throws unless it is, by a `LayerfoldError`. */
export async function ensureRefused(what: string, run: () => unknown): Promise<void> {
  let got: unknown;
  try {
    got = await run();
  } catch (error) {
    return ensure(isLayerfoldError(error), `${what} was refused by ${error} instead of a LayerfoldError`);
  }
  ensure(false, `${what} was accepted, and gave ${got}`);
}

/** Throws unless what is reported is progress that stays within its total, or a diagnostic with a stable code. */
export function ensureReports(id: string, events: readonly ReportEvent[]): void {
  for (const event of events) {
    if (event.type === "progress") {
      const { done, total, stage } = event;
      ensure(done >= 0 && done <= total, `${id}: progress of "${stage}" is ${done} of ${total}`);
    }
    if (event.type === "diagnostic") {
      ensure(
        /^[A-Z][A-Z0-9_]*$/.test(event.code),
        `${id}: the code "${event.code}" is not in UPPER_SNAKE_CASE`,
      );
      ensure(event.message.length > 0, `${id}: ${event.code} comes without a message`);
    }
  }
}

/** Copies of a block's values, to tell later whether it was changed. */
export function valuesOf({ tensors }: BlockView): Map<string, Floats> {
  return new Map([...tensors].map(([role, value]) => [role, contiguousData(value).slice() as Floats]));
}

/** Throws where a block's values are not the ones that they were. */
export function ensureUntouched(block: BlockView, before: ReadonlyMap<string, Floats>, what: string): void {
  const now = valuesOf(block);
  ensure([...now.keys()].join() === [...before.keys()].join(), `${what}: its roles were changed`);
  for (const [role, values] of before)
    ensure(equalValues(now.get(role)!, values), `${what}: ${role} was changed`);
}

/** Whether two arrays hold the same values, bit for bit but for the sign of 0. */
export function equalValues(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++)
    if (a[i] !== b[i] && !(Number.isNaN(a[i]) && Number.isNaN(b[i]))) return false;
  return true;
}

/** Throws unless `got` can stand for `wanted`: the same type and roles, and finite float32 values; shapes too, unless widths may differ. */
export function ensureStandsFor(got: BlockView, wanted: BlockView, what: string, shapes = true): void {
  ensure(got.type === wanted.type, `${what}: its type is "${got.type}" instead of "${wanted.type}"`);
  const roles = (block: BlockView) => [...block.tensors.keys()].sort().join(", ");
  ensure(roles(got) === roles(wanted), `${what}: its roles are ${roles(got)} instead of ${roles(wanted)}`);
  for (const [role, value] of got.tensors) {
    const { shape } = wanted.tensors.get(role)!;
    ensure(
      shapes ? value.shape.join() === shape.join() : value.shape.length === shape.length,
      `${what}: ${role} has the shape [${value.shape}] instead of [${shape}]`,
    );
    ensure(contiguousData(value).every(Number.isFinite), `${what}: ${role} has values that are not finite`);
  }
}
