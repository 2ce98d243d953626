// Runs the tests of a module that wasm-bindgen bound to Node: its exports that start with __wbgt_. It exits with 1 if a
// test fails or there are no tests.
"use strict";

// The module prints its report with this function; the output of tests goes through console, which it captures.
globalThis.__wbgtest_og_console_log = console.log;
globalThis.__wbg_test_invoke = (f) => f();

const captured = {};
for (const method of ["debug", "log", "info", "warn", "error"]) {
  const print = console[method];
  console[method] = (...values) => (captured[method] ? captured[method](values) : print(...values));
}

const module_ = require("./tests.js");
const exports_ = module_.__wasm;
const tests = Object.keys(exports_).filter((name) => name.startsWith("__wbgt_"));

async function run() {
  const context = new module_.WasmBindgenTestContext(false);
  for (const method of Object.keys(console)) {
    captured[method] = module_[`__wbgtest_console_${method}`];
  }
  return context.run(tests.map((name) => exports_[name]));
}

if (tests.length === 0) {
  console.error("the module has no tests");
  process.exit(1);
}
run().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error) => {
    process.stderr.write(`${error?.stack ?? error}\n`);
    process.exit(1);
  },
);
