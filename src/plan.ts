/**
 * `flashtile/plan`: what an attention costs on a core, and how large that core's caches are. Runtimes plan by
 * themselves; this is for those who want the numbers, or want to tell a runtime what it runs on.
 *
 * @module
 */
export { measureCaches } from "./ops/measurecaches.ts";
export { type Caches, type Cost, type Plan, plan, type Shape, type Tiles } from "./plan/index.ts";
export { type IoModel, ioModel, type IoShape, type Traffic } from "./plan/iomodel.ts";
export { SMALL_CACHES } from "./plan/machine.ts";
