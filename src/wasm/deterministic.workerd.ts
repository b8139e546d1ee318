/** The deterministic build in workerd, which compiles no bytes: the host hands over a compiled module. */
import module from "./kernel.wasm";
import { compiled, type Kernels } from "./load.ts";

export const deterministic: Kernels = compiled("deterministic", module);
