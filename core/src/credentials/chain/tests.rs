use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

pub(super) fn file(name: &str, text: Option<&str>) -> File {
    let content = text.map_or(Content::Absent, |text| Content::Text(Zeroizing::new(text.to_owned())));
    File { name: name.to_owned(), content }
}

fn env(vars: &[(&str, &str)], config: Option<&str>, credentials: Option<&str>) -> Environment {
    Environment {
        vars: vars.iter().map(|(name, value)| (name.to_string(), Zeroizing::new(value.to_string()))).collect(),
        config_file: file("/c/config", config),
        credentials_file: file("/c/credentials", credentials),
        container_token: None,
    }
}

fn error(env: &Environment, profile: &str) -> Error {
    resolve(env, profile).unwrap_err()
}

fn fetch(env: &Environment) -> Fetch {
    match resolve(env, "").unwrap() {
        Source::Fetch(fetch) => *fetch,
        other => panic!("{other:?}"),
    }
}

/// The same cases are asked of botocore in `core/tests/botocore_credentials.py`.
#[test]
fn the_keys_are_those_that_botocore_finds() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("../testdata/chain.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 35);
    for case in cases {
        let about = case["about"].as_str().unwrap();
        let text = |part: &str| case[part].as_str().map(|text| text.replace("%PROCESS%", "prog 'an arg'"));
        let mut env = env(&[(METADATA_DISABLED, "true")], text("config").as_deref(), text("credentials").as_deref());
        for (name, value) in case["env"].as_object().unwrap() {
            env.vars.insert(name.clone(), Zeroizing::new(value.as_str().unwrap().to_owned()));
        }
        match resolve(&env, case["profile"].as_str().unwrap()) {
            Ok(Source::Keys(keys)) => {
                let token = keys.session_token.as_ref().map(|token| token.as_str());
                let keys = serde_json::json!([keys.access_key, keys.secret_key.as_str(), token]);
                assert_eq!(case["keys"], keys, "{about}");
            }
            Ok(Source::Process(process)) => {
                assert_eq!(
                    (&case["process"], &process.words[..]),
                    (&true.into(), &["prog", "an arg"].map(String::from)[..])
                );
            }
            Ok(Source::Fetch(fetch)) => panic!("{about}: {fetch:?}"),
            Err(e) => {
                assert_eq!(case["error"], e.code().info().name, "{about}: {e}");
                assert!(e.message().contains(case["says"].as_str().unwrap()), "{about}: {e}");
                assert!(!e.to_string().contains("secret-"), "{about}: {e}");
            }
        }
    }
}

#[test]
fn the_environments_keys_may_end() {
    let mut env = env(&[(ACCESS_KEY, "A"), (SECRET_KEY, "hush"), (EXPIRATION, "2026-11-24T13:30:00Z")], None, None);
    let Source::Keys(keys) = resolve(&env, "").unwrap() else { panic!() };
    assert_eq!(keys.expires_ms, Some(1_795_527_000_000));
    env.vars.insert(EXPIRATION.to_owned(), Zeroizing::new("hush".to_owned()));
    assert!(error(&env, "").message().contains(EXPIRATION));
    let fault = [(ACCESS_KEY, "A"), (SECRET_KEY, "S")];
    assert!(matches!(resolve(&self::env(&fault, Some("no section"), None), ""), Ok(Source::Keys(_))));
}

#[test]
fn keys_that_are_not_valid_in_a_header_are_refused_with_their_source() {
    let vars = [(ACCESS_KEY, "A"), (SECRET_KEY, "S"), (SESSION_TOKEN, "hush\r\nhush")];
    let e = error(&env(&vars, None, None), "");
    assert_eq!(e.code(), Code::Credentials);
    assert!(
        e.message().contains("the environment's keys cannot be used: its session token contains a line end"),
        "{e}"
    );
    assert!(e.hint().contains(SESSION_TOKEN) && !format!("{e} {e:?}").contains("hush"), "{e}");
    let section = "[default]\naws_access_key_id = hu\0sh\naws_secret_access_key = S\n";
    let e = error(&env(&[], None, Some(section)), "");
    assert!(e.message().contains("its access key contains NUL") && e.hint().contains("this profile"), "{e}");
}

#[test]
fn a_chain_without_credentials_names_every_source() {
    let e = error(&env(&[(METADATA_DISABLED, "True")], Some("[default]\nregion = r\n"), None), "");
    assert_eq!(
        e.message(),
        "no credentials were found: the environment has no AWS_ACCESS_KEY_ID; /c/credentials does not exist; \
         /c/config has no keys for the profile 'default'; no container agent is configured \
         (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_CONTAINER_CREDENTIALS_FULL_URI); the instance metadata \
         service is disabled (AWS_EC2_METADATA_DISABLED)"
    );
    assert!(e.hint().contains("credentials = static"), "{e}");
}

#[test]
fn an_unreadable_file_is_not_treated_as_missing() {
    let mut env = env(&[], None, None);
    env.config_file.content = Content::Unreadable("Permission denied".to_owned());
    let e = error(&env, "");
    assert_eq!((e.code(), e.message()), (Code::Config, "cannot read /c/config: Permission denied"));
}

#[test]
fn other_logins_are_refused_where_a_profile_has_no_keys() {
    for key in OTHER_LOGINS {
        let e = error(&env(&[], Some(&format!("[default]\n{key} = x\n")), None), "");
        assert_eq!(e.code(), Code::Unsupported);
        assert!(e.message().contains(key) && e.hint().contains("credential_process"), "{e}");
    }
}

#[test]
fn a_profile_may_name_the_place() {
    let profile = |place: &str| format!("[profile p]\ncredential_source = {place}\n");
    let vars = [(ACCESS_KEY, "A"), (SECRET_KEY, "S"), (RELATIVE_URI, "/keys")];
    for (place, shown) in [
        ("Environment", "Keys(Credentials(A))"),
        ("EcsContainer", "Fetch(Fetch(the container agent (GET http://169.254.170.2/...)))"),
        (
            "Ec2InstanceMetadata",
            "Fetch(Fetch(the instance metadata service (PUT http://169.254.169.254/latest/api/token)))",
        ),
    ] {
        let found = resolve(&env(&vars, Some(&profile(place)), None), "p").unwrap();
        assert_eq!(format!("{found:?}"), shown);
        let without = env(&[(METADATA_DISABLED, "true")], Some(&profile(place)), None);
        assert!(error(&without, "p").message().contains(&format!("credential_source = {place}")), "{place}");
    }
    assert!(error(&env(&vars, Some(&profile("Moon")), None), "p").hint().starts_with("Set it to Environment"));
}

#[test]
fn a_command_is_split_as_a_shell_would() {
    for (command, words) in [
        ("prog", Some(vec!["prog"])),
        (r#"/a/b "c d" 'e "f"' g\ h "i \"j\"" $k"#, Some(vec!["/a/b", "c d", "e \"f\"", "g h", "i \"j\"", "$k"])),
        ("prog 'hush", None),
        ("prog hush\\", None),
    ] {
        let split = process("p", command);
        match (&split, words) {
            (Ok(split), Some(words)) => assert_eq!(split.words[..], words[..]),
            (Err(e), None) => assert!(e.code() == Code::Config && !format!("{e:?}").contains("hush"), "{e}"),
            _ => panic!("{command}: {split:?}"),
        }
    }
    assert_eq!(format!("{:?}", process("p", "prog --secret hush").unwrap()), "Process(p, Some(\"prog\"))");
}

#[test]
fn a_containers_agent_precedes_the_instance_metadata() {
    let agent = |vars: &[(&str, &str)]| format!("{:?}", fetch(&env(vars, None, None)));
    assert!(agent(&[]).contains("http://169.254.169.254/latest"));
    assert!(agent(&[(METADATA_ENDPOINT, "http://127.0.0.1:1338/")]).contains("http://127.0.0.1:1338/latest"));
    assert!(agent(&[(METADATA_MODE, "IPv6")]).contains("http://[fd00:ec2::254]/latest"));
    assert!(agent(&[(RELATIVE_URI, "/k"), (FULL_URI, "http://127.0.0.1/")]).contains("http://169.254.170.2/..."));
    assert!(agent(&[(FULL_URI, "http://127.0.0.1:5/secret-path")]).contains("http://127.0.0.1:5/..."));
    for (name, value) in [(RELATIVE_URI, "hush.example.com"), (FULL_URI, "http://example.com/hush")] {
        let e = error(&env(&[(name, value)], None, None), "");
        assert!(e.code() == Code::Credentials && e.message().starts_with(name), "{e}");
        assert!(!e.message().contains("hush"), "{e}");
    }
}

#[test]
fn a_containers_token_must_be_there_and_fit_a_header() {
    let mut env = env(&[(FULL_URI, "http://127.0.0.1/"), (CONTAINER_TOKEN, "hush\nx: y")], None, None);
    let says = |env: &Environment, what: &str| {
        let e = error(env, "");
        assert!(e.message().contains(what) && !format!("{e:?}").contains("hush"), "{e}");
    };
    says(&env, "AWS_CONTAINER_AUTHORIZATION_TOKEN gives a token");
    env.container_token = Some(file("/t", Some("hush\u{fc}")));
    says(&env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE gives a token");
    env.container_token = Some(file("/t", Some("\n")));
    says(&env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE gives a token");
    env.container_token = Some(file("/t", None));
    says(&env, "/t, which does not exist");
    env.container_token = Some(File { name: "/t".into(), content: Content::Unreadable("denied".into()) });
    says(&env, "cannot read /t: denied");
    env.container_token = Some(file("/t", Some("a token\n")));
    fetch(&env);
}

#[test]
fn an_environment_shows_names_only() {
    let env = env(&[(ACCESS_KEY, "hush"), (SECRET_KEY, "hush")], Some("hush"), Some("hush"));
    let shown = format!("{env:?}");
    assert!(shown.contains(SECRET_KEY) && !shown.contains("hush"), "{shown}");
}

#[cfg(not(target_family = "wasm"))]
proptest::proptest! {
    /// Whatever stands in files, variables and replies.
    #[test]
    fn nothing_panics(
        config in "([\\[\\] a-c=:#;\\t\"'\\\\]|\n|profile|default|credential_process|\\PC){0,60}",
        uri in "(http://|https://)?([a-z0-9.:@/?#\\[\\]\\\\]|\\PC){0,30}",
        body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        profile in "[a-c \"]{0,3}",
    ) {
        let mut env = env(&[(FULL_URI, &uri)], Some(&config), Some(&config));
        let _ = resolve(&env, &profile);
        env.vars = env.vars.into_values().map(|value| (RELATIVE_URI.to_owned(), value)).collect();
        let _ = resolve(&env, &profile);
        let _ = super::super::parse_process(&body);
        let _ = super::super::document::excuse(&body);
    }
}
