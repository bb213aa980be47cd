/**
 * The mean of a list of numbers.
 * @param {unknown} values
 */
export function mean(values) {
  const numbers = Array.isArray(values) && values.length > 0 && values.every((value) => typeof value === "number");
  if (!numbers) throw new TypeError("values is no list of numbers");
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
