/** Rows → the matrix as a Markdown table with the reasons for its noes, and into README.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { markdownTable } from "markdown-table";

const HEAD = [
  ...["runtime", "cases", "deterministic", "oracle", "relaxed", "threads"],
  ...["MB after 10,000 runtimes", "cold start ms", "GFLOP/s"],
];

export function matrix(rows) {
  const reasons = [];
  const table = markdownTable([HEAD, ...rows.map((row) => cells(row, reasons))]);
  const notes = reasons.map((reason, n) => `${n + 1}. ${reason}`).join("\n");
  return notes ? `${table}\n\nNo threads, because\n\n${notes}` : table;
}

function cells({ name, row, verdict }, reasons) {
  if (!row) return [name, verdict, ...HEAD.slice(2).fill("")];
  const { passed, total, deterministic, oracle, threads } = row;
  return [
    name,
    `${passed}/${total}${verdict === "failed" ? " FAILED" : ""}`,
    `\`${deterministic.slice(0, 8)}\``,
    `\`${oracle.slice(0, 8)}\``,
    row.relaxed,
    threads.available ? "yes" : `no ${numbered(threads.reason, reasons)}`,
    number(row.growth, 0),
    number(row.cold, 1),
    number(row.gflops, 0),
  ];
}

function numbered(reason, reasons) {
  if (!reasons.includes(reason)) reasons.push(reason);
  return `(${reasons.indexOf(reason) + 1})`;
}

function number(x, digits) {
  return x === null || x === undefined ? "–" : x.toFixed(digits);
}

export function paste(table, file) {
  const [start, end] = ["<!-- platform matrix -->", "<!-- /platform matrix -->"];
  const readme = readFileSync(file, "utf8");
  const [before, rest] = readme.split(start);
  const after = rest?.split(end)[1];
  if (after === undefined) {
    throw new SyntaxError(`${file}: expected ${start} … ${end}`);
  }
  writeFileSync(file, `${before}${start}\n\n${table}\n\n${end}${after}`);
}
