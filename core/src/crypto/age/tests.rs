use super::*;
use crate::Code;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Of age's own test vectors (x25519).
const IDENTITY: &str = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";
const RECIPIENT: &str = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef";

fn counting() -> impl FnMut(&mut [u8]) -> Result<()> {
    let mut next = 0u8;
    move |bytes| {
        for byte in bytes {
            *byte = next;
            next = next.wrapping_add(1);
        }
        Ok(())
    }
}

fn recipients(text: &str) -> Reader {
    Reader::Recipients(Recipients::parse(text.as_bytes()).unwrap())
}

fn identities(text: &str) -> Opener {
    Opener::Identities(Identities::parse(text.as_bytes()).unwrap())
}

#[test]
fn a_file_of_every_length_opens_for_its_recipient() {
    let reader = recipients(&format!("# for the safe\n\n{RECIPIENT}\n{RECIPIENT}\n"));
    for length in [0, 1, 47, 48, 65_535, 65_536, 65_537, 131_072, 200_000] {
        let content: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let file = encrypt(&content, &reader, &mut counting()).unwrap();
        assert_eq!(passphrase_memory(&file), Ok(None));
        assert_eq!(*decrypt(&file, &identities(IDENTITY)).unwrap(), content, "{length}");
        let binary = armor::decode(&file).unwrap().into_owned();
        assert_eq!(*decrypt(&binary, &identities(IDENTITY)).unwrap(), content, "{length}");
    }
}

#[test]
fn every_byte_of_a_file_counts() {
    let file = encrypt(b"content", &recipients(RECIPIENT), &mut counting()).unwrap();
    let binary = armor::decode(&file).unwrap().into_owned();
    for position in 0..binary.len() {
        let mut changed = binary.clone();
        changed[position] ^= 1;
        assert!(decrypt(&changed, &identities(IDENTITY)).is_err(), "{position}");
        assert!(decrypt(&binary[..position], &identities(IDENTITY)).is_err(), "{position}");
    }
    let longer = [&binary[..], b"x"].concat();
    assert_eq!(decrypt(&longer, &identities(IDENTITY)).unwrap_err(), Failure::Payload);
}

#[test]
fn keys_are_lines_and_other_lines_are_refused_without_being_shown() {
    let e = Recipients::parse(format!("{RECIPIENT}\n{IDENTITY}\n").as_bytes()).unwrap_err();
    assert!(e.message() == "line 2 of the recipients is an identity, which is secret", "{e}");
    let mistyped = RECIPIENT.replacen(&RECIPIENT[4..7], "qqq", 1);
    for bad in ["", "# none", "age1typo", &mistyped, &RECIPIENT.replace("age1", "agf1"), "ssh-ed25519 AAAA"] {
        assert!(Recipients::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    for bad in ["", "# none", RECIPIENT, "AGE-SECRET-KEY-1TYPO"] {
        assert!(Identities::parse(bad.as_bytes()).is_none(), "{bad}");
    }
    assert_eq!(Passphrase::new(b"").unwrap_err().code(), Code::InvalidArgument);
    let shown = format!("{:?} {:?}", identities(IDENTITY), Passphrase::new(b"secret").unwrap());
    assert_eq!(shown, "Identities(Identities(1)) Passphrase(***)");
}
