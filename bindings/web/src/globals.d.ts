/** The bundled worker, put in by build.js. */
declare const WORKER_SOURCE: string

/** Not in every browser, and not in TypeScript's library yet. */
interface Window {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<FileSystemFileHandle>
}

declare module '@s3vault/verify/wasm' {
  const bytes: Uint8Array<ArrayBuffer>
  export default bytes
}
