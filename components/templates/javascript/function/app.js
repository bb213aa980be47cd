import { InvalidInput } from "eyot";

/**
 * @typedef {object} Summary
 * @property {import("eyot").u32} count
 * @property {number} mean
 * @property {number} deviation
 */

/**
 * The mean of values, and how far they lie from it.
 * @param {Float64Array} values
 * @returns {Summary}
 */
export function summarize(values) {
  if (values.length === 0) throw new InvalidInput("there are no values");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return { count: values.length, mean, deviation };
}
