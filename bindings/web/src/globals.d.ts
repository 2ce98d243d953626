/** The bundled worker, put in by build.js. */
declare const WORKER_SOURCE: string

declare module '@s3vault/verify/wasm' {
  const bytes: Uint8Array<ArrayBuffer>
  export default bytes
}
