/** The probe in a page: ?page runs it here, ?worker in a module worker, ?service in a service worker. */
const strict = location.protocol === "chrome-extension:" ||
  location.pathname.includes("csp");
const workerUrl = strict ? new URL("./node_modules/flashtile/dist/worker.js", import.meta.url) : undefined;

const hosts = {
  async page() {
    const { probe } = await import("./probe.js");
    return { row: await probe({ workerUrl }) };
  },
  worker: () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL("./worker.js", import.meta.url), {
        type: "module",
      });
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message || "worker: could not be loaded"));
    }),
  async service() {
    const registration = await navigator.serviceWorker.register("./service.js", { type: "module" });
    const worker = registration.installing ?? registration.waiting ??
      registration.active;
    const channel = new MessageChannel();
    const answer = new Promise((resolve) => (channel.port1.onmessage = ({ data }) => resolve(data)));
    worker.postMessage("probe", [channel.port2]);
    return answer;
  },
};

hosts[location.search.slice(1)]().then(
  globalThis.settle,
  (error) => globalThis.settle({ error: String(error?.stack ?? error) }),
);
