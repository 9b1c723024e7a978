/** The shortest decimal that is the same float32: metadata hold 1e-5 as 9.999999747378752e-6. Other numbers stay as they are. */
export function float32Decimal(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}
