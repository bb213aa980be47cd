// Reads an app for `eyot build` without running it, checks its types where it is TypeScript, bundles it
// with what it imports, and prints what it exports as JSON:
//
//     {"handler": bool, "http": bool, "functions": WIT of an interface or null, "imports": […], "error": text or null}
//
// Usage: describe.js APP SDK BUNDLE

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import esbuild from "esbuild";
import ts from "typescript";
import { Types, Wrong, documentation, isNothing } from "./types.js";

/** What a component may ask its host for; everything else belongs into it. */
const CONTRACTS = /^(eyot|wasi|spin):/;

function describe(text, path) {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const broken = source.parseDiagnostics[0];
  const types = new Types(source);
  if (broken) throw new Wrong(`line ${lineOf(source, broken.start)}: ${ts.flattenDiagnosticMessageText(broken.messageText, " ")}`);
  const functions = source.statements.flatMap((node) => exported(node)).map(([name, node, documented]) => signature(types, name, node, documented));
  const standing = standard(source);
  if (functions.length === 0 && standing === undefined) {
    throw new Wrong("it exports nothing: export a function, or export default handler(…) or { fetch(request) { … } }");
  }
  return { types, functions, standing };
}

/** The functions that a statement exports, by name. */
function exported(node) {
  const marks = ts.canHaveModifiers(node) ? (ts.getModifiers(node) ?? []).map((mark) => mark.kind) : [];
  if (!marks.includes(ts.SyntaxKind.ExportKeyword) || marks.includes(ts.SyntaxKind.DefaultKeyword)) return [];
  if (ts.isFunctionDeclaration(node)) return [[node.name, node, node]];
  if (!ts.isVariableStatement(node)) return [];
  return node.declarationList.declarations
    .filter(({ initializer }) => initializer && (ts.isArrowFunction(initializer) || ts.isFunctionExpression(initializer)))
    .map(({ name, initializer }) => [name, initializer, node]);
}

/** What the default export is: "handler", "http" or nothing. */
function standard(source) {
  const found = source.statements.find((node) => ts.isExportAssignment(node) && !node.isExportEquals);
  let value = found?.expression;
  while (value && (ts.isSatisfiesExpression(value) || ts.isAsExpression(value) || ts.isParenthesizedExpression(value))) value = value.expression;
  if (value && ts.isCallExpression(value) && /(^|\.)handler$/.test(value.expression.getText(source))) return "handler";
  const fetches = (one) => one.name?.getText(source) === "fetch";
  if (value && ts.isObjectLiteralExpression(value) && value.properties.some(fetches)) return "http";
  if (!found) return undefined;
  const line = lineOf(source, found.getStart(source));
  throw new Wrong(`line ${line}: the default export is neither handler(…) nor an object with fetch(request)`);
}

function signature(types, name, node, documented) {
  const wit = types.name(name);
  const parameters = node.parameters.map((parameter) => {
    if (parameter.dotDotDotToken || !ts.isIdentifier(parameter.name)) throw types.wrong(parameter, `'${name.text}' takes more than plain parameters`);
    const type = parameter.type ?? ts.getJSDocType(parameter);
    if (!type) throw types.wrong(parameter, `parameter '${parameter.name.text}' of '${name.text}' needs a type${inDoc(types, `@param {number} ${parameter.name.text}`)}`);
    const inner = types.of(type, `${wit.slice(1)}-${types.name(parameter.name).slice(1)}`);
    const doc = ts.getJSDocParameterTags(parameter)[0];
    const optional = parameter.questionToken || parameter.initializer || doc?.isBracketed;
    const { wit: text } = optional ? types.option(inner) : inner;
    return { text: `${types.name(parameter.name)}: ${text}`, shape: inner.shape };
  });
  const returned = returns(types, name, node);
  const nothing = isNothing(returned);
  const result = nothing ? { wit: "_", shape: null } : types.of(returned, `${wit.slice(1)}-result`);
  const text = `${documentation(documented)}  ${wit}: func(${parameters.map((one) => one.text).join(", ")}) -> result<${result.wit}, string>;\n`;
  const shapes = [parameters.map((one) => one.shape), result.shape];
  return { name: name.text, text, shapes: shapes.flat().some(Boolean) ? shapes : null };
}

/** What a function returns, out of its promise. */
function returns(types, name, node) {
  const type = node.type ?? ts.getJSDocReturnType(node);
  if (!type) throw types.wrong(name, `'${name.text}' needs a return type, void for none${inDoc(types, "@returns {number}")}`);
  const promise = ts.isTypeReferenceNode(type) && type.typeName.getText(types.source) === "Promise";
  return promise && type.typeArguments?.length === 1 ? type.typeArguments[0] : type;
}

function inDoc(types, example) {
  return types.source.fileName.endsWith(".ts") ? "" : `, as in /** ${example} */`;
}

function lineOf(source, position) {
  return source.getLineAndCharacterOfPosition(position).line + 1;
}

/** The module that stands between the app and the component's exports. */
function entry({ functions, standing }, app) {
  const lines = [`import * as app from ${JSON.stringify(app)};`];
  lines.push('import { functionExport, handlerExport, plainExport } from "eyot/exports";');
  const calls = functions.map(({ name, shapes }) => {
    const call = shapes ? `functionExport(app.${name}, ${shapes.map((one) => JSON.stringify(one)).join(", ")})` : `plainExport(app.${name})`;
    return `${name}: ${call}`;
  });
  if (calls.length) lines.push(`export const functions = { ${calls.join(", ")} };`);
  if (standing === "handler") lines.push("export const handler = handlerExport(app.default);");
  if (standing === "http") lines.push('addEventListener("fetch", (event) => event.respondWith(app.default.fetch(event.request)));');
  return lines.join("\n");
}

/** One module of the app and everything it imports; answers what is left to import from the host. */
async function bundle(contents, app, sdk, into) {
  const contracts = {
    name: "contracts",
    setup(build) {
      build.onResolve({ filter: /^#(artifacts|models|tracking)$/ }, ({ path }) => ({ path: `eyot:ml/${path.slice(1)}@0.1.0`, external: true }));
      build.onResolve({ filter: CONTRACTS }, ({ path }) => ({ path, external: true }));
    },
  };
  const options = { bundle: true, format: "esm", target: "es2022", platform: "neutral", mainFields: ["module", "main"], conditions: ["import", "module"] };
  const { metafile } = await esbuild.build({
    ...options, stdin: { contents, resolveDir: dirname(app) }, outfile: into, alias: { eyot: sdk }, plugins: [contracts], metafile: true, logLevel: "silent",
  });
  return Object.values(metafile.outputs).flatMap(({ imports }) => imports.filter((one) => one.external).map((one) => one.path));
}

/** The first thing that TypeScript has to say against the app. */
function check(app, sdk) {
  const file = join(dirname(app), "tsconfig.json");
  const own = ts.sys.fileExists(file) ? ts.parseJsonConfigFileContent(ts.readConfigFile(file, ts.sys.readFile).config, ts.sys, dirname(app)).options : { strict: true };
  const options = {
    target: ts.ScriptTarget.ES2022, lib: ["lib.es2022.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"], skipLibCheck: true, types: [], ...own,
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, allowImportingTsExtensions: true, noEmit: true,
    paths: { ...own.paths, eyot: [join(sdk, "index.d.ts")] },
  };
  const program = ts.createProgram([app], options);
  const [first] = ts.getPreEmitDiagnostics(program);
  if (!first) return;
  const text = ts.flattenDiagnosticMessageText(first.messageText, "\n");
  const where = first.file ? `${first.file.fileName === app ? "" : `${first.file.fileName}: `}line ${lineOf(first.file, first.start)}: ` : "";
  throw new Wrong(`${where}${text}`);
}

async function main([app, sdk, into]) {
  try {
    const described = describe(await readFile(app, "utf8"), app);
    if (app.endsWith(".ts")) check(app, sdk);
    const imports = await bundle(entry(described, app), app, sdk, into);
    const { types, functions, standing } = described;
    const uses = types.artifacts ? "  use eyot:ml/artifacts@0.1.0.{artifact};\n" : "";
    const body = [...types.definitions.values(), ...functions.map(({ text }) => text)].join("");
    return {
      handler: standing === "handler", http: standing === "http", imports: [...new Set(imports)].sort(), error: null,
      functions: functions.length ? `interface functions {\n${uses}${body}}\n` : null,
    };
  } catch (error) {
    if (error instanceof Wrong) return { error: error.message };
    const [first] = error.errors ?? [];
    if (!first) throw error;
    const { file, line } = first.location ?? {};
    return { error: `${line ? `${file} line ${line}: ` : ""}${first.text}` };
  }
}

process.stdout.write(JSON.stringify(await main(process.argv.slice(-3))));
