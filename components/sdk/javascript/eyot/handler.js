import { spec } from "./tensor.js";

/**
 * A handler: its signature, and a function that takes the input tensors by name and gives the outputs
 * by name, as tensors or as plain values. An app exports it as its default.
 */
export function handler({ inputs, outputs }, predict) {
  return { inputs: inputs.map(spec), outputs: outputs.map(spec), predict };
}
