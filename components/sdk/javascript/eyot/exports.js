// Between an app and its component's exports. `eyot build` calls this; apps do not.

import { Artifact } from "./artifact.js";
import { InvalidInput, failure, words } from "./errors.js";
import { Tensor, output } from "./tensor.js";

/** The export eyot:ml/handler of what `handler(…)` gave. */
export function handlerExport({ inputs, outputs, predict }) {
  const signature = { inputs: inputs.map(toSpec), outputs: outputs.map(toSpec) };
  return {
    describe: () => signature,
    async predict(tensors) {
      try {
        const taken = Object.fromEntries(tensors.map((tensor) => [tensor.name, Tensor.fromWit(tensor)]));
        const answer = await predict(taken);
        return outputs.map((one) => output(one, answer).toWit());
      } catch (error) {
        throw failure({ tag: told(error) ? "invalid-input" : "internal", val: words(error) });
      }
    },
  };
}

/** A function of an app as an export without artifacts. */
export function plainExport(call) {
  return async (...values) => {
    try {
      return await call(...values);
    } catch (error) {
      told(error);
      throw failure(words(error));
    }
  };
}

/**
 * A function of an app as an export. The shapes say where artifacts stand in its parameters and its
 * result: "artifact", a shape in a list, shapes by field, null for nothing.
 */
export function functionExport(call, parameters, result) {
  const wrap = (handle) => new Artifact(handle);
  const unwrap = (artifact) => artifact.inner;
  const wrapped = async (...values) =>
    mapped(result, await call(...values.map((value, index) => mapped(parameters[index], value, wrap))), unwrap);
  return plainExport(wrapped);
}

function mapped(shape, value, change) {
  if (shape === null || value === null || value === undefined) return value;
  if (shape === "artifact") return change(value);
  if (Array.isArray(shape)) {
    return Array.from(value, (item, index) => mapped(shape[shape.length === 1 ? 0 : index], item, change));
  }
  const fields = Object.entries(shape).map(([name, inner]) => [name, mapped(inner, value[name], change)]);
  return { ...value, ...Object.fromEntries(fields) };
}

function toSpec({ name, dtype, shape }) {
  return { name, dtype: dtype === "BOOL" ? "boolean" : dtype.toLowerCase(), shape: BigInt64Array.from(shape, BigInt) };
}

/** Whether it is the caller's mistake; a mistake of the app is shown with its stack in its log. */
function told(error) {
  const callers = error instanceof InvalidInput;
  if (!callers) console.error(words(error), error?.stack ?? "");
  return callers;
}
