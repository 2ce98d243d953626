//! The error for a wrong or missing setting names the setting to change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use embedded_store::{Options, Server};
use s3vault::{Code, Control, Error, Settings, Vault};

struct Wrong<'a> {
    settings: &'a [(&'a str, &'a str)],
    fault: Option<&'a str>,
    code: Code,
    /// Text in the message or the hint.
    says: &'a [&'a str],
}

fn open(store: &Server, changes: &[(&str, &str)]) -> Result<(), Error> {
    let mut settings = Settings::new();
    let url = store.url();
    let own = [("api_url", &*url), ("access_key", "access"), ("secret_key", "secret"), ("bucket", "wrong-inputs")];
    for (key, value) in own.iter().chain(changes) {
        settings.set(key, value)?;
    }
    let none = &mut Control::none();
    let vault = Vault::open(&settings, None, none)?;
    let mut put = vault.put("vm", "disk", &Settings::new(), none)?;
    put.write(b"x", none)?;
    put.commit(none)?;
    Ok(())
}

#[test]
fn each_wrong_input_names_the_setting_to_change() {
    let html = r#"{"operation": "*", "times": 100, "answer": {"status": 200, "body": "<html><body>Sign in</body></html>", "content_type": "text/html"}}"#;
    let wrongs = [
        Wrong {
            settings: &[("secret_key", "wrong")],
            fault: None,
            code: Code::SignatureRefused,
            says: &["secret_key"],
        },
        Wrong {
            settings: &[("access_key", "nobody")],
            fault: None,
            code: Code::UnknownAccessKey,
            says: &["access_key", "api_url"],
        },
        Wrong {
            settings: &[("region", "us-west-2")],
            fault: Some(
                r#"{"operation": "*", "times": 100, "answer": {"status": 301, "code": "PermanentRedirect", "headers": {"x-amz-bucket-region": "eu-west-1"}}}"#,
            ),
            code: Code::WrongRegion,
            says: &["Set region = eu-west-1."],
        },
        Wrong {
            settings: &[],
            fault: Some(
                r#"{"operation": "*", "times": 100, "answer": {"status": 403, "code": "RequestTimeTooSkewed"}}"#,
            ),
            code: Code::ClockSkew,
            says: &["Set the store's clock", "this machine's clock too"],
        },
        Wrong {
            settings: &[],
            fault: Some(
                r#"{"operation": "PutObject", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#,
            ),
            code: Code::AccessDenied,
            says: &["s3:PutObject on arn:aws:s3:::wrong-inputs/*"],
        },
        Wrong {
            settings: &[],
            fault: Some(
                r#"{"operation": "ListObjectsV2", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#,
            ),
            code: Code::AccessDenied,
            says: &["s3:ListBucket on arn:aws:s3:::wrong-inputs."],
        },
        Wrong {
            settings: &[],
            fault: Some(
                r#"{"operation": "PutObject", "times": 100, "answer": {"status": 403, "code": "AccessDenied"}}"#,
            ),
            code: Code::AccessDenied,
            says: &["s3:PutObject on arn:aws:s3:::wrong-inputs/*."],
        },
        Wrong { settings: &[], fault: Some(html), code: Code::BadReply, says: &["Sign in", "api_url", "proxy"] },
        Wrong { settings: &[("bucket", "no-such-bucket")], fault: None, code: Code::NoSuchBucket, says: &["bucket"] },
        Wrong { settings: &[("path_style", "false")], fault: None, code: Code::InvalidOption, says: &["path_style"] },
        Wrong {
            settings: &[("api_url", "http://no-such-store.invalid"), ("path_style", "false")],
            fault: None,
            code: Code::Resolve,
            says: &["path_style = true", "api_url"],
        },
        Wrong {
            settings: &[("api_url", "http://127.0.0.1:9")],
            fault: None,
            code: Code::Connect,
            says: &["127.0.0.1:9", "api_url"],
        },
        Wrong {
            settings: &[("provider", "minio"), ("leading_slash", "true")],
            fault: None,
            code: Code::InvalidOption,
            says: &["leading_slash", "minio"],
        },
    ];
    for wrong in wrongs {
        let store = Server::start(Options::new("access", "secret").bucket("wrong-inputs")).unwrap();
        if let Some(fault) = wrong.fault {
            store.fault(serde_json::from_str(fault).unwrap()).unwrap();
        }
        let e = open(&store, wrong.settings).expect_err("an error");
        let told = e.to_string();
        let what = format!("{:?} {:?}: {e:?}", wrong.settings, wrong.fault);
        assert_eq!(e.code(), wrong.code, "{what}");
        for says in wrong.says {
            assert!(told.contains(says), "{says:?} is not in {what}");
        }
        assert!(!told.contains("secret\""), "{what}");
    }
}

#[test]
fn a_clock_that_is_an_hour_off_is_corrected() {
    for hours in [-1, 1] {
        let store = Server::start(Options::new("access", "secret").bucket("wrong-inputs")).unwrap();
        store.set_clock_offset(hours * 3600);
        open(&store, &[]).unwrap();
    }
}
