/**
 * The rows without an empty cell, and how many had one.
 * @param {string} text
 */
export function complete(text) {
  const rows = text.split("\n").filter((row) => row !== "");
  const kept = rows.filter((row) => row.split(",").every((cell) => cell.trim() !== ""));
  return { text: kept.map((row) => `${row}\n`).join(""), dropped: rows.length - kept.length };
}
