/** The record that JavaScript and the kernels share has one layout. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { TASK_BYTES } from "../src/ops/task.ts";
import * as word from "../src/ops/word.ts";

it("words are numbered as the kernels' class has its fields, 4 bytes each", () => {
  const source = readFileSync(new URL("../assembly/ops/task.ts", import.meta.url), "utf8");
  const [body] = /export class Task \{[^}]*\}/.exec(source)!;
  const fields = [...body.matchAll(/^ {2}(\w+): (usize|i32|u32|f32);$/gm)].map(([, name]) => name);
  expect(fields.length).toBeGreaterThan(40);
  expect({ ...word }).toEqual(Object.fromEntries(fields.map((name, x) => [name, x])));
  expect(TASK_BYTES).toBe(4 * fields.length);
});
