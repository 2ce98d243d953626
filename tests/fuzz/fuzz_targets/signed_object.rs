#![no_main]
#![allow(missing_docs)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| s3vault_fuzz::signed_object(data));
