// {row} or {error}, once page.js has settled it: there before any module, so that whoever asks has a promise to wait for.
globalThis.outcome = new Promise((resolve) => (globalThis.settle = resolve));
addEventListener(
  "error",
  ({ message }) => globalThis.settle({ error: message || "a script could not be loaded" }),
  true,
);
