/**
 * src/semantics.ts → docs/semantics.md: the switches with their comments, and every preset's row.
 *
 *   node tools/docs-semantics.js            writes the file
 */
import { build } from "esbuild";
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import ts from "typescript";

/** The page, from the source text and the values it exports. */
export function semanticsPage(source, { defaults, presets, switches }) {
  const meaning = comments(source, "Semantics");
  const origin = comments(source, "presets");
  const names = Object.keys(switches);
  const cell = (value) => "`" + (typeof value === "string" ? `"${value}"` : value) + "`";
  const row = (cells) => `| ${cells.join(" | ")} |`;
  const table = (head, rows) => [row(head), row(head.map(() => "---")), ...rows.map(row)].join("\n");
  const values = (record) =>
    names.map((name) => record[name] === defaults[name] ? "·" : `**${cell(record[name])}**`);
  return `# Semantics

Made by \`node tools/docs-semantics.js\` from \`src/semantics.ts\`.

All systems compute the same formula and differ in a handful of switches:

    x = scale·q·k → softcap → + ALiBi + bias → −∞ where not allowed → softmax (+ sink) → O

The option \`semantics\` takes the name of a system, or a record of switches that differ from the defaults. For a system
with one switch changed, spread it: \`semantics: { ...presets.flashInfer, lseBase: "e" }\`.

## Switches

${
    table(
      ["switch", "values, the default first", "meaning"],
      names.map((name) => [`\`${name}\``, switches[name].map(cell).join(" "), meaning(name)]),
    )
  }

## Presets

A dot is the default.

${
    table(
      ["", ...names.map((name) => `\`${name}\``)],
      [
        ["no preset", ...names.map((name) => cell(defaults[name]))],
        ...Object.entries(presets).map(([name, preset]) => [`\`${name}\``, ...values(preset)]),
      ],
    )
  }

${Object.keys(presets).map((name) => `- \`${name}\`: ${origin(name)}`).join("\n")}
`;
}

/** Reads doc comments of the members of an interface, or of an object that is assigned to a constant. */
function comments(source, name) {
  const file = ts.createSourceFile("source.ts", source, ts.ScriptTarget.Latest, true);
  const members = file.statements.flatMap((node) => {
    if (ts.isInterfaceDeclaration(node) && node.name.text === name) return [...node.members];
    if (!ts.isVariableStatement(node)) return [];
    const [declaration] = node.declarationList.declarations;
    return declaration.name.getText(file) === name ? [...declaration.initializer.properties] : [];
  });
  return (key) => {
    const member = members.find((found) => found.name.getText(file) === key);
    const comment = member && ts.getJSDocCommentsAndTags(member)[0]?.comment;
    if (typeof comment !== "string") throw new Error(`${name}.${key}: expected a doc comment`);
    return comment.replace(/\s+/g, " ").replaceAll("|", "\\|").trim();
  };
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const path = new URL("../src/semantics.ts", import.meta.url).pathname;
  const { outputFiles } = await build({ entryPoints: [path], bundle: true, format: "esm", write: false });
  const values = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
  writeFileSync(
    new URL("../docs/semantics.md", import.meta.url),
    semanticsPage(readFileSync(path, "utf8"), values),
  );
}
