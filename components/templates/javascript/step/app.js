import { Artifact, logMetric } from "eyot";
import { complete } from "./complete.js";

/**
 * @typedef {object} Cleaned
 * @property {Artifact} rows
 * @property {import("eyot").u32} dropped
 */

/**
 * Drops rows with missing cells.
 * @param {Artifact} file
 * @returns {Cleaned}
 */
export function clean(file) {
  const { text, dropped } = complete(file.text());
  logMetric("dropped", dropped);
  return { rows: Artifact.write("text/csv", text), dropped };
}
