/** `flashtile/relaxed` in workerd, see src/relaxed.ts. */
import { compiled, type Kernels } from "./wasm/load.ts";
import module from "./wasm/relaxed.wasm";

export const relaxed: Kernels = compiled("relaxed", module);
