// Whether a bundle can reach the global `fetch`, under its name or through a variable. What certainly cannot is built
// without it, and its component does not ask its host for requests of its own; all others are, and grants decide.

import ts from "typescript";

/** Names by which the global object, one of its members, or source that becomes code is had. */
const DOORS = new Set(["fetch", "globalThis", "self", "window", "global", "eval", "Function"]);

/** Whether an identifier only names a member: of another object, of a class, of a module. */
function isMemberName(node) {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) || ts.isMetaProperty(parent)) return parent.name === node;
  if (ts.isQualifiedName(parent)) return parent.right === node;
  if (ts.isBindingElement(parent) || ts.isImportSpecifier(parent) || ts.isExportSpecifier(parent)) return parent.propertyName === node;
  // `{ fetch }` is the value of that name, `{ fetch: … }` and `{ fetch() { … } }` are not.
  return !ts.isShorthandPropertyAssignment(parent) && (ts.isObjectLiteralElement(parent) || ts.isClassElement(parent)) && parent.name === node;
}

/** The name of the member that an expression takes of an object, where it stands there. */
function member(node) {
  if (ts.isPropertyAccessExpression(node)) return node.name.text;
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) return node.argumentExpression.text;
  return undefined;
}

/** Whether the global object is only asked for one member, and that has nothing to do with requests. */
function isHarmless(node) {
  const { parent } = node;
  const taken = parent.expression === node ? member(parent) : undefined;
  return node.text === "globalThis" && taken !== undefined && !DOORS.has(taken);
}

/** Whether it makes a function of a text: the constructor of any function does. */
function makesCode(node) {
  return (ts.isCallExpression(node) || ts.isNewExpression(node)) && member(node.expression) === "constructor";
}

/** Whether a module can reach `fetch`. */
export function reachesFetch(source) {
  const visit = (node) => {
    if (ts.isIdentifier(node) && DOORS.has(node.text) && !isMemberName(node) && !isHarmless(node)) return true;
    return makesCode(node) || ts.forEachChild(node, visit) || false;
  };
  return visit(ts.createSourceFile("bundle.js", source, ts.ScriptTarget.Latest, true));
}
