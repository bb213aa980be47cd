import * as models from "#models";
import { host } from "./errors.js";
import { Tensor } from "./tensor.js";

/** A model that the host runs. */
export class Model {
  constructor(inner) {
    this.inner = inner;
  }

  /** A model that the deployment grants under `name`. */
  static open(name) {
    return new Model(host(() => models.Model.open(name)));
  }

  /** A model that is an artifact of the running pipeline: the bytes of an ONNX file. */
  static load(weights) {
    return new Model(host(() => models.Model.load(weights.inner)));
  }

  /** Runs it once. Inputs are matched by name; answers all outputs by name, in the model's order. */
  infer(inputs) {
    const outputs = host(() => this.inner.infer(inputs.map((tensor) => tensor.toWit())));
    return Object.fromEntries(outputs.map((tensor) => [tensor.name, Tensor.fromWit(tensor)]));
  }
}
