//! Linking: the name that programs ask the loader for, and no unloading.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libs3vault.so.0");
    // The library's threads would go on in code that dlclose has unmapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // Dependencies export C functions of their own (crc-fast does, where another package switches its `ffi` on).
    println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
}
