/**
 * Standardises a column: mean 0, standard deviation 1.
 * @param {Float32Array} values
 */
export function standardise(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return values.map((value) => (value - mean) / (deviation || 1));
}
