const EARTH_KM = 6371;

/** Hours between two times; NaN where one is none. */
export function hours(from, to) {
  return (Date.parse(to) - Date.parse(from)) / 3_600_000;
}

/** The great-circle distance of a trip. */
export function kilometres({ from_lat, from_lon, to_lat, to_lon }) {
  const [a, b, c, d] = [from_lat, from_lon, to_lat, to_lon].map((degrees) => (Number(degrees) * Math.PI) / 180);
  const half = Math.sin((c - a) / 2) ** 2 + Math.cos(a) * Math.cos(c) * Math.sin((d - b) / 2) ** 2;
  return 2 * EARTH_KM * Math.asin(Math.min(1, Math.sqrt(half)));
}

/** Mean 0 and standard deviation 1, and what both were, so that serving can do the same. */
export function scaled(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return { values: values.map((value) => (value - mean) / (deviation || 1)), mean, deviation };
}

/** A value that starts again after `period`, as a point on a circle: 23:59 is near 00:01. */
export function cyclic(name, values, period) {
  const angles = values.map((value) => (2 * Math.PI * value) / period);
  return { [`${name}_sin`]: angles.map(Math.sin), [`${name}_cos`]: angles.map(Math.cos) };
}

/** A column of zeros and ones for each value there is. */
export function oneHot(name, values) {
  const kinds = [...new Set(values)].sort();
  return Object.fromEntries(kinds.map((kind) => [`${name}_${kind}`, values.map((value) => (value === kind ? 1 : 0))]));
}
