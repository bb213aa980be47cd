// TypeScript's types, in a .ts file or in JSDoc, as WIT. Read off the syntax: nothing of an app runs.

import ts from "typescript";

const SCALARS = {
  u8: "u8", u16: "u16", u32: "u32", u64: "u64", s8: "s8", s16: "s16", s32: "s32", s64: "s64",
  f32: "f32", f64: "f64", char: "char", String: "string", Number: "f64", Boolean: "bool",
  Uint8Array: "list<u8>", Uint16Array: "list<u16>", Uint32Array: "list<u32>", BigUint64Array: "list<u64>",
  Int8Array: "list<s8>", Int16Array: "list<s16>", Int32Array: "list<s32>", BigInt64Array: "list<s64>",
  Float32Array: "list<f32>", Float64Array: "list<f64>",
};
const KEYWORDS = new Map([
  [ts.SyntaxKind.BooleanKeyword, "bool"],
  [ts.SyntaxKind.NumberKeyword, "f64"],
  [ts.SyntaxKind.BigIntKeyword, "s64"],
  [ts.SyntaxKind.StringKeyword, "string"],
]);
const KNOWN =
  "boolean, number, bigint, string, u8 to s64, f32, typed arrays, arrays, tuples, objects, unions of texts, " +
  "{ tag, val } unions, T | null, Artifact and the app's own types";

/** Something in the app has no WIT. */
export class Wrong extends Error {}

/** The types of one app, and those of its definitions that its functions have turned out to need. */
export class Types {
  constructor(source) {
    this.source = source;
    this.own = new Map();
    this.definitions = new Map();
    this.artifacts = false;
    for (const node of source.statements) {
      if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) this.own.set(node.name.text, node);
      for (const doc of node.jsDoc ?? []) this.typedefs(doc);
    }
    // A typedef with no statement after it hangs on the end of the file.
    for (const doc of source.endOfFileToken.jsDoc ?? []) this.typedefs(doc);
  }

  typedefs(doc) {
    for (const tag of doc.tags ?? []) {
      if (ts.isJSDocTypedefTag(tag) && tag.name) this.own.set(tag.name.text, tag);
    }
  }

  wrong(node, text) {
    const { line } = this.source.getLineAndCharacterOfPosition(node.getStart(this.source));
    return new Wrong(`line ${line + 1}: ${text}`);
  }

  cannot(node) {
    return this.wrong(node, `'${node.getText(this.source)}' cannot cross a component's boundary; what can: ${KNOWN}`);
  }

  /** A name in WIT, or why not: it must come back as the same name. */
  name(node) {
    const name = node.text;
    const wit = kebab(name);
    const plain = /^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$/.test(wit);
    if (!plain || camel(wit) !== name) throw this.wrong(node, `'${name}' is no name for other languages; write it in camelCase`);
    return `%${wit}`;
  }

  /** The WIT of a type, and where artifacts stand in it. `path` names what has no name of its own. */
  of(node, path) {
    if (KEYWORDS.has(node.kind)) return { wit: KEYWORDS.get(node.kind), shape: null };
    if (ts.isParenthesizedTypeNode(node)) return this.of(node.type, path);
    if (ts.isTypeOperatorNode(node) && node.operator === ts.SyntaxKind.ReadonlyKeyword) return this.of(node.type, path);
    if (node.kind === ts.SyntaxKind.JSDocTypeExpression) return this.of(node.type, path);
    if (node.kind === ts.SyntaxKind.JSDocNullableType) return this.option(this.of(node.type, path));
    if (ts.isArrayTypeNode(node)) return this.list(node.elementType, path);
    if (ts.isTupleTypeNode(node)) return this.tuple(node, path);
    if (ts.isUnionTypeNode(node)) return this.union(node, path);
    if (ts.isTypeLiteralNode(node) || node.kind === ts.SyntaxKind.JSDocTypeLiteral) return this.record(node, path);
    if (ts.isTypeReferenceNode(node)) return this.reference(node.typeName.getText(this.source), node, path);
    if (isOfSdk(node)) return this.reference(node.qualifier.text, node, path);
    throw this.cannot(node);
  }

  option({ wit, shape }) {
    return { wit: wit.startsWith("option<") ? wit : `option<${wit}>`, shape };
  }

  list(element, path) {
    const { wit, shape } = this.of(element, path);
    return { wit: `list<${wit}>`, shape: shape && [shape] };
  }

  tuple(node, path) {
    const parts = node.elements.map((one, index) => {
      if (ts.isOptionalTypeNode(one) || ts.isRestTypeNode(one)) throw this.cannot(node);
      return this.of(ts.isNamedTupleMember(one) ? one.type : one, `${path}-${index}`);
    });
    const shapes = parts.map(({ shape }) => shape);
    return { wit: `tuple<${parts.map(({ wit }) => wit).join(", ")}>`, shape: shapes.some(Boolean) ? shapes : null };
  }

  union(node, path) {
    const present = node.types.filter((one) => !isNothing(one));
    if (present.length === 1) return this.option(this.of(present[0], path));
    const wit = this.cases(present, path) ?? this.variants(present, path);
    if (wit === undefined) throw this.cannot(node);
    return present.length < node.types.length ? this.option(wit) : wit;
  }

  /** `"red" | "blue"` as an enum. */
  cases(types, path) {
    const texts = types.map((one) => (ts.isLiteralTypeNode(one) && ts.isStringLiteral(one.literal) ? one.literal : null));
    if (texts.includes(null)) return undefined;
    const cases = texts.map((one) => {
      if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(one.text)) throw this.wrong(one, `'${one.text}' is no case of an enum: write it in kebab-case`);
      return `%${one.text}`;
    });
    return this.define(path, (name) => `  enum ${name} { ${cases.join(", ")} }\n`);
  }

  /** `{ tag: "a", val: T } | { tag: "b" }` as a variant. */
  variants(types, path) {
    const cases = types.map((one) => {
      if (!ts.isTypeLiteralNode(one)) return null;
      const member = (name) => one.members.find((field) => field.name?.getText(this.source) === name)?.type;
      const [tag, val] = [member("tag"), member("val")];
      if (!tag || !ts.isLiteralTypeNode(tag) || !ts.isStringLiteral(tag.literal)) return null;
      const payload = val && this.of(val, `${path}-${tag.literal.text}`);
      if (payload?.shape) throw this.wrong(val, "an artifact cannot stand inside of a union");
      return `%${tag.literal.text}${payload ? `(${payload.wit})` : ""}`;
    });
    if (cases.includes(null)) return undefined;
    return this.define(path, (name) => `  variant ${name} { ${cases.join(", ")} }\n`);
  }

  record(node, path, documented = node) {
    const members = node.members ?? node.jsDocPropertyTags ?? [];
    if (members.length === 0) throw this.wrong(node, "an object without a field cannot cross a component's boundary");
    const shapes = {};
    const fields = members.map((field) => {
      const type = field.type ?? field.typeExpression?.type;
      if (!type || !ts.isIdentifier(field.name)) throw this.cannot(field);
      const name = this.name(field.name);
      const inner = this.of(type, `${path}-${name.slice(1)}`);
      if (inner.shape) shapes[field.name.text] = inner.shape;
      const { wit } = field.questionToken || field.isBracketed ? this.option(inner) : inner;
      return `${name}: ${wit}`;
    });
    const shape = Object.keys(shapes).length ? shapes : null;
    return this.define(path, (name) => `${documentation(documented)}  record ${name} { ${fields.join(", ")} }\n`, shape);
  }

  /** Keeps a definition once, under a name that no function has. */
  define(path, text, shape = null) {
    const name = `%${path}-type`;
    this.definitions.set(name, text(name));
    return { wit: name, shape };
  }

  reference(name, node, path) {
    const inner = node.typeArguments ?? [];
    if (["Array", "ReadonlyArray"].includes(name) && inner.length === 1) return this.list(inner[0], path);
    if (this.own.has(name)) return this.ofOwn(this.own.get(name), name);
    if (name === "Artifact") {
      this.artifacts = true;
      return { wit: "artifact", shape: "artifact" };
    }
    if (Object.hasOwn(SCALARS, name)) return { wit: SCALARS[name], shape: null };
    throw this.cannot(node);
  }

  ofOwn(node, name) {
    const path = kebab(name);
    const known = this.kept?.get(name);
    if (known) return known;
    if (this.open?.has(name)) throw this.wrong(node, `'${name}' holds itself; what crosses a component's boundary ends`);
    (this.open ??= new Set()).add(name);
    const made = ts.isInterfaceDeclaration(node) ? this.ofInterface(node, path) : this.ofAlias(node, path);
    this.open.delete(name);
    (this.kept ??= new Map()).set(name, made);
    return made;
  }

  ofInterface(node, path) {
    if (node.heritageClauses?.length || node.typeParameters?.length) {
      throw this.wrong(node, `'${node.name.text}' must name its fields itself: no extends, no parameters`);
    }
    return this.record(node, path);
  }

  ofAlias(node, path) {
    if (node.typeParameters?.length) throw this.wrong(node, `'${node.name.text}' must be without parameters`);
    const type = node.type ?? node.typeExpression;
    if (type.kind === ts.SyntaxKind.JSDocTypeLiteral || ts.isTypeLiteralNode(type)) return this.record(type, path, node);
    return this.of(type, path);
  }
}

/** `null`, `undefined` and `void`. */
export function isNothing(node) {
  const nothing = [ts.SyntaxKind.UndefinedKeyword, ts.SyntaxKind.VoidKeyword, ts.SyntaxKind.NullKeyword];
  return nothing.includes(node.kind) || (ts.isLiteralTypeNode(node) && node.literal.kind === ts.SyntaxKind.NullKeyword);
}

/** `import("eyot").u32` */
function isOfSdk(node) {
  const named = ts.isImportTypeNode(node) && node.qualifier && ts.isIdentifier(node.qualifier);
  return named && ts.isLiteralTypeNode(node.argument) && node.argument.literal.text === "eyot";
}

/** The text of a doc comment as WIT has it. */
export function documentation(node) {
  const texts = ts.getJSDocCommentsAndTags(node).filter(ts.isJSDoc).map((doc) => ts.getTextOfJSDocComment(doc.comment) ?? "");
  const lines = texts.join("\n").split("\n").map((line) => line.trimEnd());
  return lines.filter(Boolean).map((line) => `  /// ${line}\n`).join("");
}

export function kebab(name) {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace(/^-/, "");
}

function camel(wit) {
  return wit.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase());
}
