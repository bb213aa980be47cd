import * as tracking from "#tracking";

/** Records one point of a metric; `step` counts whatever you count, such as epochs. */
export function logMetric(key, value, step = 0) {
  tracking.logMetric(key, Number(value), BigInt(step));
}

/** Records a parameter; its first value stays. */
export function logParam(key, value) {
  tracking.logParam(key, String(value));
}

/** Sets a tag, replacing an earlier value. */
export function setTag(key, value) {
  tracking.setTag(key, String(value));
}
