// Makes components of bundled apps, one after another: what is compiled for the first one is warm for the next.
//
// Usage: componentize.js (BUNDLE WIT COMPONENT http|none)…

import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";
import { reachesFetch } from "./reach.js";

async function make(bundle, witPath, into, kind) {
  const source = await readFile(bundle, "utf8");
  // What an app does not use, its component does not ask its host for: requests of its own must be granted.
  const disableFeatures = kind === "http" ? [] : ["fetch-event"];
  if (!reachesFetch(source)) disableFeatures.push("http");
  const { component } = await componentize(source, { witPath, worldName: "component", disableFeatures });
  await writeFile(into, component);
}

for (let apps = process.argv.slice(2); apps.length > 0; apps = apps.slice(4)) {
  try {
    await make(...apps);
  } catch (error) {
    console.error(`${apps[0]}: ${error.message ?? error}`);
    process.exit(1);
  }
}
