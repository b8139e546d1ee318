/**
 * The property names that others know: those in the declarations that the package's entries export, in whatever
 * declarations these mention, and in the engines' own libraries. All others are ours and may be shortened
 * (tools/shortnames.js).
 */
import ts from "typescript";

/** Every name of a property, and every string, in reach of the entries; `project` is their tsconfig. */
export function publicNames(project, entries) {
  const { config } = ts.readConfigFile(project, ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ".");
  const program = ts.createProgram(entries, options);
  const checker = program.getTypeChecker();
  const names = new Set();
  const seen = new Set();

  const reach = (symbol) => {
    if (symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
    if (seen.has(symbol)) return;
    seen.add(symbol);
    for (const declaration of symbol.declarations ?? []) {
      if (!declaration.getSourceFile().fileName.includes("/node_modules/")) visit(declaration);
    }
  };
  const visit = (node) => {
    // What a function does and what a class hides is nobody's business.
    if (ts.isBlock(node) || (node.name && ts.isPrivateIdentifier(node.name))) return;
    if (ts.isStringLiteral(node)) names.add(node.text);
    if (isMember(node)) names.add(node.name.text);
    if (ts.isIdentifier(node)) {
      const symbol = checker.getSymbolAtLocation(node);
      if (symbol) reach(symbol);
    }
    ts.forEachChild(node, visit);
  };
  for (const name of entries) {
    const module = checker.getSymbolAtLocation(program.getSourceFile(name));
    if (module) checker.getExportsOfModule(module).forEach(reach);
  }
  const library = (node) => {
    if (node.name && ts.isIdentifier(node.name) && !ts.isParameter(node)) names.add(node.name.text);
    ts.forEachChild(node, library);
  };
  program.getSourceFiles().filter((file) => program.isSourceFileDefaultLibrary(file)).forEach(library);
  return names;
}

/** Of a class, an interface or an object. */
function isMember(node) {
  return (ts.isClassElement(node) || ts.isTypeElement(node) || ts.isObjectLiteralElement(node)) &&
    node.name !== undefined && (ts.isIdentifier(node.name) || ts.isStringLiteral(node.name));
}
