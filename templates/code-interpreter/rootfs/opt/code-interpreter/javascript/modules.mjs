// `import` in cells. A cell is a script, where the statement is not allowed and the expression has no module to start from;
// both are rewritten to calls of an importer, which looks for modules from the working folder.

import Module, { createRequire, isBuiltin } from "node:module";
import path from "node:path";

import { parse } from "acorn";

const IMPORTER = "__hearth_import";
// As the inspector takes it, with statements of modules besides.
const SYNTAX = {
  ecmaVersion: "latest",
  sourceType: "script",
  allowImportExportEverywhere: true,
  allowAwaitOutsideFunction: true,
  allowHashBang: true,
};

/** The code without `import` and `export`. What cannot be parsed is left as it is: V8 says what is wrong with it. */
export function rewriteImports(code) {
  if (!/\b(?:import|export)\b/.test(code)) return code;
  let tree;
  try {
    tree = parse(code, SYNTAX);
  } catch {
    return code;
  }
  const edits = [];
  collect(tree, code, edits);
  edits.sort((one, other) => other.start - one.start);
  for (const { start, end, text } of edits) code = code.slice(0, start) + text + code.slice(end);
  return code;
}

function collect(node, code, edits) {
  if (node.type === "ImportDeclaration") {
    edits.push({ start: node.start, end: node.end, text: statement(node) });
    return;
  }
  if (node.type === "ExportNamedDeclaration" && node.declaration) {
    edits.push({ start: node.start, end: node.declaration.start, text: "" });
  }
  if (node.type === "ImportExpression") {
    edits.push({ start: node.start, end: node.start + "import".length, text: IMPORTER });
  }
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (child && typeof child.type === "string") collect(child, code, edits);
    }
  }
}

function statement(node) {
  const module = `await ${IMPORTER}(${node.source.raw})`;
  const whole = node.specifiers.find((specifier) => specifier.type === "ImportNamespaceSpecifier");
  const names = node.specifiers.filter((specifier) => specifier !== whole).map(binding);
  if (whole) {
    const rest = names.length > 0 ? `, { ${names.join(", ")} } = ${whole.local.name}` : "";
    return `const ${whole.local.name} = ${module}${rest};`;
  }
  return names.length > 0 ? `const { ${names.join(", ")} } = ${module};` : `${module};`;
}

function binding(specifier) {
  if (specifier.type === "ImportDefaultSpecifier") return `default: ${specifier.local.name}`;
  const name = specifier.imported.type === "Literal" ? specifier.imported.raw : specifier.imported.name;
  return `${name}: ${specifier.local.name}`;
}

/** Imports as a module in the working folder would. */
export function createImporter() {
  let folder, importHere;
  return async (specifier, options) => {
    if (folder !== process.cwd()) {
      folder = process.cwd();
      importHere = importerOf(folder);
    }
    try {
      return await importHere(String(specifier), options);
    } catch (error) {
      if (error?.code !== "ERR_MODULE_NOT_FOUND" || isBuiltin(specifier)) throw error;
      return await globally(specifier, folder, error);
    }
  };
}

// Only code of a file in that folder imports from there; the file need not exist.
function importerOf(folder) {
  const filename = path.join(folder, "cell.js");
  const module = new Module(filename);
  module.filename = filename;
  module.paths = Module._nodeModulePaths(folder);
  module._compile("module.exports = (specifier, options) => import(specifier, options);", filename);
  return module.exports;
}

// What is installed with `npm install -g` is found by `require` alone, where NODE_PATH says so.
async function globally(specifier, folder, notFound) {
  let found;
  try {
    found = createRequire(path.join(folder, "cell.js")).resolve(specifier);
  } catch {
    throw notFound;
  }
  return await importerOf(folder)(found);
}
