// What apps import. A component holds only the modules, and asks only for the contracts, that its app uses.

export { Artifact, Writer } from "./artifact.js";
export { InvalidInput } from "./errors.js";
export { handler } from "./handler.js";
export { Model } from "./model.js";
export { Tensor } from "./tensor.js";
export { logMetric, logParam, setTag } from "./tracking.js";
