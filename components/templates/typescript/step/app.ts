import { Artifact, logMetric, type u32 } from "eyot";

export interface Cleaned {
  rows: Artifact;
  dropped: u32;
}

/** The rows without an empty cell, and how many had one. */
function complete(text: string): { text: string; dropped: number } {
  const rows = text.split("\n").filter((row) => row !== "");
  const kept = rows.filter((row) => row.split(",").every((cell) => cell.trim() !== ""));
  return { text: kept.map((row) => `${row}\n`).join(""), dropped: rows.length - kept.length };
}

/** Drops rows with missing cells. */
export function clean(file: Artifact): Cleaned {
  const { text, dropped } = complete(file.text());
  logMetric("dropped", dropped);
  return { rows: Artifact.write("text/csv", text), dropped };
}
