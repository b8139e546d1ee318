import { expect } from "vitest";

type ErrorClass = typeof SyntaxError | typeof TypeError | typeof RangeError;

/** The call throws exactly this class and this message. */
export function expectThrow(call: () => unknown, Class: ErrorClass, message: string): void {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(Error);
  expect([(thrown as Error).message, (thrown as Error).constructor]).toEqual([message, Class]);
}
