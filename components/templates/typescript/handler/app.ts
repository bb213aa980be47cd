import { InvalidInput, handler } from "eyot";

/** Standardises a column: mean 0, standard deviation 1. */
function standardise(values: Float32Array): Float32Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return values.map((value) => (value - mean) / (deviation || 1));
}

export default handler({ inputs: ["x: FP32[-1]"], outputs: ["y: FP32[-1]"] }, ({ x }) => {
  const values = x?.data;
  if (!(values instanceof Float32Array) || values.length === 0) throw new InvalidInput("x has no element");
  return { y: standardise(values) };
});
