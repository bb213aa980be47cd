import { InvalidInput, type u32 } from "eyot";

export interface Summary {
  count: u32;
  mean: number;
  deviation: number;
}

/** The mean of values, and how far they lie from it. */
export function summarize(values: Float64Array): Summary {
  if (values.length === 0) throw new InvalidInput("there are no values");
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return { count: values.length, mean, deviation };
}
