/** The probe as a Cloudflare Worker. */
import { probe } from "./probe.js";

export default {
  async fetch() {
    try {
      return Response.json(await probe());
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
