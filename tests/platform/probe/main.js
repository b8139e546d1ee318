/** The probe as a program: prints its row as one line of JSON. */
import { probe } from "./probe.js";

console.log(`ROW ${JSON.stringify(await probe())}`);
