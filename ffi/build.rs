//! Linking: the name that programs ask the loader for, and no unloading.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libs3vault.so.0");
    // After a dlclose, the library's threads would still run, in code that is no longer mapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Dependencies export C functions of their own (crc-fast does, where another package switches its `ffi` on).
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
}
