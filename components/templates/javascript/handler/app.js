import { InvalidInput, handler } from "eyot";
import { standardise } from "./standardise.js";

export default handler({ inputs: ["x: FP32[-1]"], outputs: ["y: FP32[-1]"] }, ({ x }) => {
  if (x.data.length === 0) throw new InvalidInput("x has no element");
  return { y: standardise(x.data) };
});
