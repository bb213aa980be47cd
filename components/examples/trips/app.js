import { Artifact, InvalidInput, logMetric } from "eyot";
import { parse, print } from "./csv.js";
import { cyclic, hours, kilometres, oneHot, scaled } from "./features.js";

/**
 * @typedef {object} Features
 * @property {Artifact} features
 * @property {import("eyot").u32} rows
 * @property {Column[]} columns
 */

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {number} mean
 * @property {number} deviation
 */

const WANTED = ["started", "ended", "from_lat", "from_lon", "to_lat", "to_lon", "kind"];

/**
 * Makes of bicycle trips what a model can learn from: distance, duration and speed standardised, the hour of the
 * day on a circle, the kind of bicycle as columns of zeros and ones.
 * @param {Artifact} trips
 * @returns {Features}
 */
export function engineer(trips) {
  const { header, rows } = parse(trips.text());
  const missing = WANTED.filter((name) => !header.includes(name));
  if (missing.length) throw new InvalidInput(`the file has no column ${missing.join(", ")}`);
  const table = rows.map((cells) => Object.fromEntries(header.map((name, index) => [name, cells[index]])));
  const whole = table.filter((trip) => WANTED.every((name) => trip[name]) && hours(trip.started, trip.ended) > 0);
  if (whole.length === 0) throw new InvalidInput("there is no whole trip");
  logMetric("dropped", rows.length - whole.length);

  const distance = whole.map((trip) => kilometres(trip));
  const duration = whole.map((trip) => hours(trip.started, trip.ended));
  const speed = distance.map((length, row) => length / duration[row]);
  const standardised = { distance: scaled(distance), duration: scaled(duration), speed: scaled(speed) };
  const made = {
    ...Object.fromEntries(Object.entries(standardised).map(([name, { values }]) => [name, values])),
    ...cyclic("hour", whole.map((trip) => new Date(trip.started).getUTCHours() + new Date(trip.started).getUTCMinutes() / 60), 24),
    ...oneHot("kind", whole.map((trip) => trip.kind)),
  };
  const columns = Object.entries(standardised).map(([name, { mean, deviation }]) => ({ name, mean, deviation }));
  return { features: Artifact.write("text/csv", print(made)), rows: whole.length, columns };
}
