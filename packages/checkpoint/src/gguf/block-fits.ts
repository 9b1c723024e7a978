/** Steps of a fifth of a level to either side of the plain scale that are tried as a start. */
const widest = 5;

/** How often codes and scale are fitted to one another, from the best start. */
const rounds = 2;

/** Values too close for a scale that a half can hold. */
const tiniest = 1e-15;

/** A line through the levels: value ≈ scale · code + offset. */
export interface LineFit {
  scale: number;
  offset: number;
}

/** The whole number nearest to a value, but not below 0 and not above `most`. */
export function codeUpTo(value: number, most: number): number {
  // Below 2^31 a bitwise or cuts off the fraction, faster than Math.round.
  return value >= most ? most : value > 0 ? (value + 0.5) | 0 : 0;
}

/** Of the last attempt: what it takes off the sum of squares, and by which scale. */
const attempted = { gain: 0, scale: 0 };

/** Codes by `inverse`, and the scale that fits them best. */
function attemptScale(
  values: Float64Array,
  count: number,
  weights: Float64Array,
  most: number,
  inverse: number,
): void {
  let product = 0;
  let square = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    const code = codeUpTo(inverse * value + most, 2 * most - 1) - most;
    const weighted = weights[i] * code;
    product += weighted * value;
    square += weighted * code;
  }
  attempted.gain = square > 0 ? (product * product) / square : 0;
  attempted.scale = square > 0 ? product / square : 0;
}

/**
 * The scale for which Σ weight · (scale · code − value)² is least, or nearly so, over codes from −most to most − 1: the largest value is put
 * on −most and a little beside it, codes are rounded, and the scale follows from them by least squares.
 *
 * @returns signed; 0 where all values are
 */
export function fitScale(values: Float64Array, count: number, weights: Float64Array, most: number): number {
  let extreme = 0;
  for (let i = 0; i < count; i++) if (Math.abs(values[i]) > Math.abs(extreme)) extreme = values[i];
  if (Math.abs(extreme) < tiniest) return 0;
  let best = -1;
  let scale = 0;
  for (let step = -widest; step <= widest + rounds; step++) {
    if (step > widest && scale === 0) break;
    const inverse = step > widest ? 1 / scale : -(most + 0.2 * step) / extreme;
    attemptScale(values, count, weights, most, inverse);
    if (attempted.gain <= best) continue;
    best = attempted.gain;
    scale = attempted.scale;
  }
  return scale;
}

/** Sums over a block that every attempt at a line needs. */
interface LineSums {
  weight: number;
  value: number;
  square: number;
}

const tried: LineFit = { scale: 0, offset: 0 };

/**
 * Codes by `inverse` and `from`, and in `tried` the line that fits them best.
 * @returns the error; infinite where there is no such line
 */
function attemptLine(
  values: Float64Array,
  count: number,
  weights: Float64Array,
  most: number,
  falling: boolean,
  sums: LineSums,
  inverse: number,
  from: number,
): number {
  let codes = 0;
  let squares = 0;
  let products = 0;
  for (let i = 0; i < count; i++) {
    const value = values[i];
    const code = codeUpTo(inverse * (value - from), most);
    const weighted = weights[i] * code;
    codes += weighted;
    squares += weighted * code;
    products += weighted * value;
  }
  const determinant = sums.weight * squares - codes * codes;
  if (!(determinant > 0)) return Number.POSITIVE_INFINITY;
  let scale = (sums.weight * products - sums.value * codes) / determinant;
  let offset = (squares * sums.value - codes * products) / determinant;
  if (falling && offset > 0) {
    offset = 0;
    scale = products / squares;
  }
  if (!(scale > 0)) return Number.POSITIVE_INFINITY;
  tried.scale = scale;
  tried.offset = offset;
  return (
    sums.square +
    scale * scale * squares +
    offset * offset * sums.weight +
    2 * (scale * offset * codes - scale * products - offset * sums.value)
  );
}

/**
 * Scale and offset for which Σ weight · (scale · code + offset − value)² is least, or nearly so, over codes from 0 to `most`.
 *
 * @param falling - the offset must not be above 0
 * @param out - filled; the scale is not negative
 */
export function fitLine(
  values: Float64Array,
  count: number,
  weights: Float64Array,
  most: number,
  falling: boolean,
  out: LineFit,
): void {
  let low = values[0];
  let high = values[0];
  const sums: LineSums = { weight: 0, value: 0, square: 0 };
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (value < low) low = value;
    if (value > high) high = value;
    sums.weight += weights[i];
    sums.value += weights[i] * value;
    sums.square += weights[i] * value * value;
  }
  if (falling && low > 0) low = 0;
  out.scale = 0;
  out.offset = low;
  if (high - low < tiniest) return;
  let best = Number.POSITIVE_INFINITY;
  for (let step = -widest; step <= widest + rounds; step++) {
    const again = step > widest;
    if (again && out.scale === 0) break;
    const inverse = again ? 1 / out.scale : (most + 0.2 * step) / (high - low);
    const from = again ? out.offset : low;
    const error = attemptLine(values, count, weights, most, falling, sums, inverse, from);
    if (error >= best) continue;
    best = error;
    out.scale = tried.scale;
    out.offset = tried.offset;
  }
}
