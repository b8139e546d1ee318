/** Hosts that import WebAssembly hand over a compiled module. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}
