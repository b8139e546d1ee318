/** Checks that options share. Success builds no strings; the message starts with the name of what is wrong. */
/** Lengths beyond this would overflow the 32-bit indices of the kernels. */
export const MAX_LENGTH = 2 ** 30;

export const MAX_INTEGER = Number.MAX_SAFE_INTEGER;

/** @throws RangeError for a value of the expected kind (as `typeof` calls it), TypeError for any other. */
export function refuse(name: string, expected: string, value: unknown, kind = "number"): never {
  const own: string = typeof value;
  throw new (own === kind ? RangeError : TypeError)(`${name}: expected ${expected}, got ${describe(value)}`);
}

/** @throws TypeError unless the value is an object, `expected` in words. */
export function expectRecord(name: string, value: unknown, expected: string): void {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw new TypeError(`${name}: expected ${expected}, got ${describe(value)}`);
  }
}

/** Fields by name with the values they may have, the default first; null where these are checked elsewhere. */
export type Fields = Readonly<Record<string, readonly unknown[] | null>>;

/** @throws TypeError for a name that is no field, or as {@link oneOf}; undefined is a field left out. */
export function expectFields(prefix: string, given: object, fields: Fields): void {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(fields, name)) {
      throw new TypeError(`${prefix}${name}: no such option; there are ${Object.keys(fields).join(", ")}`);
    }
    const value = given[name as keyof object] as unknown;
    const allowed = fields[name];
    if (allowed && value !== undefined && !allowed.includes(value)) oneOf(prefix + name, value, allowed);
  }
}

/** A value for every field: the one given, or the default. */
export function complete<T>(fields: { readonly [Key in keyof T]: readonly T[Key][] }, given: Partial<T>): T {
  const all: Partial<T> = {};
  for (const name of Object.keys(fields) as (keyof T)[]) all[name] = or(given[name], fields[name][0]);
  return all as T;
}

/** null is no way to leave an option out. */
export function or<T>(value: T | undefined, otherwise: T): T {
  return value === undefined ? otherwise : value;
}

export function oneOf<const T>(name: string, value: unknown, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T;
  const kind = allowed.some((x) => typeof x === typeof value) ? typeof value : "";
  return refuse(name, allowed.map(describe).join(", "), value, kind);
}

/** The values of a flag, which is down unless given. */
export const FLAG: readonly boolean[] = [false, true];

export function flag(name: string, value: unknown): boolean {
  return oneOf(name, or(value, false), FLAG);
}

export function finite(name: string, value: unknown): number {
  return Number.isFinite(value) ? value as number : refuse(name, "a finite number", value);
}

export function atLeastZero(name: string, value: unknown): number {
  return finite(name, value) >= 0 ? value as number : refuse(name, "a number ≥ 0", value);
}

/** An integer in a range; `at` is its place in a vector. */
export function integer(name: string, value: unknown, low: number, high: number, at?: number): number {
  if (Number.isInteger(value) && value as number >= low && value as number <= high) return value as number;
  return refuse(at === undefined ? name : `${name}[${at}]`, `an integer from ${low} to ${high}`, value);
}

export function count(name: string, value: unknown): number {
  return integer(name, value, 0, MAX_LENGTH);
}

/** A value as messages show it. */
export function describe(value: unknown): string {
  if (value && typeof value === "object") return value.constructor?.name ?? "an object";
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
