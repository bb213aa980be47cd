// Makes components of bundled apps, one after another: what is compiled for the first one is warm for the next.
//
// Usage: componentize.js (BUNDLE WIT COMPONENT http|none)…

import { readFile, writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";
import ts from "typescript";

/** Whether a module calls the global `fetch`; a method of that name is another thing. */
function requests(source) {
  const visit = (node) => {
    const called = ts.isCallExpression(node) ? node.expression.getText() : "";
    return called === "fetch" || called === "globalThis.fetch" || ts.forEachChild(node, visit) || false;
  };
  return visit(ts.createSourceFile("bundle.js", source, ts.ScriptTarget.Latest, true));
}

async function make(bundle, witPath, into, kind) {
  const source = await readFile(bundle, "utf8");
  // What an app does not use, its component does not ask its host for: requests of its own must be granted.
  const disableFeatures = kind === "http" ? [] : ["fetch-event"];
  if (!requests(source)) disableFeatures.push("http");
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
