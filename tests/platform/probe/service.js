/** The probe in a service worker: answers on the port that comes with the message. */
import { probe } from "./probe.js";

self.addEventListener("message", (event) => {
  const [port] = event.ports;
  event.waitUntil(
    probe().then(
      (row) => port.postMessage({ row }),
      (error) => port.postMessage({ error: String(error?.stack ?? error) }),
    ),
  );
});
