import {
  type CalibrationStatistics,
  contiguousData,
  type Matrix,
  type QuantizedTensor,
  type Quantizer,
  type ReportEvent,
  type StatisticsKind,
  tensor,
} from "@layerfold/core";
import {
  type ConformanceCheck,
  ensure,
  ensureRefused,
  ensureReports,
  equalValues,
  identityCheck,
  stridedCopy,
} from "./conformance.js";
import { randomMatrix } from "./random-matrix.js";
import { testContext } from "./test-context.js";

export interface QuantizerCheckOptions {
  /** [out, in] of the weights that it is tried on; default [12, 32]. The plug-in's group size must divide `in`. */
  readonly shape?: readonly [number, number];
  /**
   * Most that a weight may be off, in steps of its group's grid, where integers are stored: 0.5 and some slack for a scale that is itself rounded.
   * Absent for methods that move errors from one channel to another.
   */
  readonly steps?: number;
}

/**
 * The laws of a quantizer: codes, scales and zero points in the shapes and ranges that the files hold; weights that come back near to what they
 * were; inputs untouched, strides heeded, the same seed the same codes; weights of 0 staying 0; weights that are not finite refused; and its
 * statistics: run with just what it says it needs, and refused without.
 *
 * @param make - makes the quantizer anew
 *
 * @example
 * ```ts
 * for (const { name, run } of quantizerChecks(() => myQuantizer({ groupSize: 16 }), { steps: 0.55 })) it(name, run);
 * ```
 */
export function quantizerChecks(
  make: () => Quantizer,
  options: QuantizerCheckOptions = {},
): ConformanceCheck[] {
  const { shape: [rows, columns] = [12, 32], steps } = options;
  const { id, needs = [] } = make();
  const { rng } = testContext(1);
  const weight = randomMatrix(rows, columns, rng.fork("weight"), "float32");
  const statistics = statisticsOf(randomMatrix(200, columns, rng.fork("inputs")), needs);
  const quantize = async (matrix: Matrix = weight, known = statistics, seed = 1) =>
    make().quantize(matrix, known, testContext(seed));
  const ensureSame = (got: QuantizedTensor, wanted: QuantizedTensor, law: string) => {
    for (const field of ["codes", "scales", "zeroPoints"] as const) {
      ensure(equalValues(got[field], wanted[field]), `${id}: ${law}: the ${field} differ`);
    }
  };

  return [
    identityCheck("quantizer", make),
    {
      name: "gives codes, scales and zero points in the shapes and ranges that files hold",
      async run() {
        const { bits, shape, groupSize, symmetric, codes, scales, zeroPoints, groupIndex, encoding } =
          await quantize();
        ensure(
          shape.join() === [rows, columns].join(),
          `${id}: shape [${shape}] of a weight [${rows},${columns}]`,
        );
        ensure(Number.isInteger(bits) && bits >= 1 && bits <= 8, `${id}: ${bits} bits`);
        ensure(
          columns % groupSize === 0,
          `${id}: groups of ${groupSize} do not divide ${columns} input channels`,
        );
        const groups = rows * (columns / groupSize);
        ensure(codes.length === rows * columns, `${id}: ${codes.length} codes for ${rows * columns} weights`);
        ensure(scales.length === groups, `${id}: ${scales.length} scales for ${groups} groups`);
        ensure(zeroPoints.length === groups, `${id}: ${zeroPoints.length} zero points for ${groups} groups`);
        const top = 2 ** bits - 1;
        ensure(
          codes.every((code) => code <= top),
          `${id}: a code is above ${top}`,
        );
        ensure(
          scales.every((scale) => scale > 0 && Number.isFinite(scale)),
          `${id}: a scale is not positive`,
        );
        const middle = encoding === undefined ? 2 ** (bits - 1) : 0;
        const fixed = symmetric || encoding !== undefined;
        ensure(
          zeroPoints.every((zero) => (fixed ? zero === middle : zero <= top)),
          fixed ? `${id}: a zero point is not ${middle}` : `${id}: a zero point is above ${top}`,
        );
        if (!groupIndex) return;
        const sizes = new Int32Array(columns / groupSize);
        for (const group of groupIndex) sizes[group]++;
        ensure(
          groupIndex.length === columns && sizes.every((size) => size === groupSize),
          `${id}: groupIndex does not put ${groupSize} channels into each group`,
        );
      },
    },
    {
      name: "gives weights back near to what they were",
      async run() {
        const quantized = await quantize();
        const values = dequantized(quantized);
        const wanted = contiguousData(weight);
        const [error, energy] = [0, 1].map((whole) =>
          wanted.reduce((sum, w, i) => sum + (w - (whole ? 0 : values[i])) ** 2, 0),
        );
        ensure(error < energy, `${id}: the squared error ${error} is above that of weights of 0, ${energy}`);
        if (steps === undefined) return;
        const { scales, groupSize } = quantized;
        wanted.forEach((w, i) => {
          const step = scales[Math.floor(i / groupSize)];
          const off = Math.abs(w - values[i]) / step;
          ensure(off <= steps, `${id}: weight ${i} is ${off} steps off, more than ${steps}`);
        });
      },
    },
    {
      name: "leaves weights of 0 at 0",
      async run() {
        const data = contiguousData(weight).slice();
        data.fill(0, 0, columns);
        const values = dequantized(await quantize(tensor(data, [rows, columns])));
        ensure(
          values.subarray(0, columns).every((value) => value === 0),
          `${id}: a row of zeros became another`,
        );
      },
    },
    {
      name: "leaves weights and statistics untouched",
      async run() {
        const before = contiguousData(weight).slice();
        const kept = Object.values(statistics).map((value) => arrayOf(value)?.slice());
        await quantize();
        ensure(equalValues(contiguousData(weight), before), `${id}: the weight was changed`);
        Object.entries(statistics).forEach(([name, value], i) => {
          const now = arrayOf(value);
          if (now) ensure(equalValues(now, kept[i]!), `${id}: ${name} was changed`);
        });
      },
    },
    {
      name: "reads strided weights as it reads contiguous ones",
      async run() {
        ensureSame(await quantize(stridedCopy(weight)), await quantize(), "strided weights");
      },
    },
    {
      name: "gives the same codes for the same seed",
      async run() {
        ensureSame(
          await quantize(weight, statistics, 5),
          await quantize(weight, statistics, 5),
          "the same seed",
        );
      },
    },
    {
      name: "refuses weights that are not finite",
      async run() {
        for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
          const data = contiguousData(weight).slice();
          data[columns + 3] = value;
          await ensureRefused(`${id}: a weight of ${value}`, () => quantize(tensor(data, [rows, columns])));
        }
      },
    },
    {
      name: "refuses to run without the statistics that it needs",
      async run() {
        for (const missing of needs) {
          const { [missing]: _, ...rest } = statistics;
          await ensureRefused(`${id}: statistics without ${missing}`, () => quantize(weight, rest));
        }
      },
    },
    {
      name: "reports by stable codes",
      async run() {
        const events: ReportEvent[] = [];
        await make().quantize(weight, statistics, testContext(1, { report: (event) => events.push(event) }));
        ensureReports(id, events);
      },
    },
  ];
}

/** What of a calibration is asked for, of inputs [tokens, in]. */
export function statisticsOf(
  inputs: Matrix<Float64Array>,
  kinds: readonly StatisticsKind[],
): CalibrationStatistics {
  const [tokenCount, width] = inputs.shape;
  const values = contiguousData(inputs);
  const gram = new Float64Array(width * width);
  const absoluteMaximum = new Float64Array(width);
  const absoluteMean = new Float64Array(width);
  for (let t = 0; t < tokenCount; t++) {
    const row = values.subarray(t * width, (t + 1) * width);
    row.forEach((x, i) => {
      absoluteMaximum[i] = Math.max(absoluteMaximum[i], Math.abs(x));
      absoluteMean[i] += Math.abs(x) / tokenCount;
      for (let j = 0; j < width; j++) gram[i * width + j] += x * row[j];
    });
  }
  const all = { gram: tensor(gram, [width, width]), absoluteMaximum, absoluteMean };
  return {
    tokenCount,
    ...Object.fromEntries(Object.entries(all).filter(([kind]) => kinds.includes(kind as StatisticsKind))),
  };
}

function arrayOf(value: unknown): Float64Array | undefined {
  if (value instanceof Float64Array) return value;
  const data = (value as { data?: unknown }).data;
  return data instanceof Float64Array ? data : undefined;
}

/** w = scale · (code − zero point), row-major. */
function dequantized(quantized: QuantizedTensor): Float64Array {
  const { shape, groupSize, codes, scales, zeroPoints, groupIndex, encoding } = quantized;
  const [rows, columns] = shape;
  const groups = scales.length / rows;
  return Float64Array.from(codes, (code, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    const group = row * groups + (groupIndex?.[column] ?? Math.floor(column / groupSize));
    const value = encoding === "float8_e4m3" ? float8(code) : code;
    return scales[group] * (value - zeroPoints[group]);
  });
}

/** An OCP float8 e4m3 number (OFP8 revision 1.0, table 1): one sign bit, four of exponent (bias 7), three of mantissa; 0x7f is NaN. */
function float8(bits: number): number {
  const sign = bits & 0x80 ? -1 : 1;
  const [exponent, mantissa] = [(bits >> 3) & 0xf, bits & 7];
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  return sign * (exponent === 0 ? (mantissa / 8) * 2 ** -6 : (1 + mantissa / 8) * 2 ** (exponent - 7));
}
