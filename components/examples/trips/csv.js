/**
 * Comma-separated values without quotes, as sensors write them.
 * @param {string} text
 */
export function parse(text) {
  const [header, ...rows] = text.split(/\r?\n/).filter((line) => line !== "").map((line) => line.split(","));
  return { header: header ?? [], rows };
}

/**
 * Columns of numbers as a file, to the millionth, which is what an FP32 near 1 holds.
 * @param {Record<string, number[]>} columns
 */
export function print(columns) {
  const names = Object.keys(columns);
  const length = names.length ? columns[names[0]].length : 0;
  const row = (index) => names.map((name) => Math.round(columns[name][index] * 1e6) / 1e6);
  return [names, ...Array.from({ length }, (_, index) => row(index))].map((cells) => `${cells.join(",")}\n`).join("");
}
