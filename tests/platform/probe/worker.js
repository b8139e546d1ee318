/** The probe in a module worker: posts its row. */
import { probe } from "./probe.js";

probe().then((row) => postMessage({ row }), (error) => postMessage({ error: String(error?.stack ?? error) }));
