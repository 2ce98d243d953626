#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use s3vault_core::{Code, Error, Machine, Output};
use tempfile::TempDir;

use super::*;
use crate::control::Cancel;
use crate::transport::clock;
use crate::transport::testserver::{ReceivedRequest, Server, Shared, reply, until};

const PATIENCE: Duration = Duration::from_secs(60);

const PRINTED: &str =
    r#"{"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "hush", "Expiration": "2026-11-24T13:30:00Z"}"#;

const ANSWERED: &str = r#"{"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "hush", "Token": "hush-token",
    "Expiration": "2026-11-24T13:30:00Z"}"#;

/// A home directory with shared files, and the variables of a process that uses it.
struct Home {
    folder: TempDir,
    vars: HashMap<&'static str, OsString>,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".aws")).unwrap();
        Home { folder, vars: HashMap::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Home {
        self.vars.insert(name, value.into());
        self
    }

    fn file(self, name: &str, text: &str) -> Home {
        fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// A profile whose process is this script. The shell reads it, since a file that was just written cannot always be
    /// executed while other tests fork.
    fn script(self, script: &str) -> Home {
        let path = self.folder.path().join("get keys");
        fs::write(&path, script).unwrap();
        let command = format!("credential_process = /bin/sh '{}' --secret hush-argument", path.display());
        self.file(".aws/config", &format!("[default]\n{command}\n"))
    }

    fn environment(&self) -> Result<Environment> {
        gather::environment_of(|name| self.vars.get(name).cloned(), Some(self.folder.path().to_owned()))
    }

    fn find_within(&self, process_time: Duration) -> Result<Credentials> {
        find(&self.environment()?, "", process_time, &mut Control::none())
    }

    fn find(&self) -> Result<Credentials> {
        self.find_within(PATIENCE)
    }

    /// The error, which must show no secret.
    fn error(&self) -> Error {
        let e = self.find().unwrap_err();
        assert!(!format!("{e} {e:?} {:?}", self.environment()).contains("hush"), "{e}");
        e
    }
}

fn settings(values: &[(&str, &str)]) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in values {
        settings.set(key, value).unwrap();
    }
    settings
}

#[test]
fn files_are_read_at_home_or_where_variables_say() {
    let pair = |name: &str| format!("[default]\naws_access_key_id = {name}\naws_secret_access_key = hush\n");
    let home = Home::new().file(".aws/config", &pair("CONFIG"));
    assert_eq!(home.find().unwrap().access_key, "CONFIG");
    let home = home.file(".aws/credentials", &pair("CREDENTIALS"));
    assert_eq!(home.find().unwrap().access_key, "CREDENTIALS");
    let home = home.file("other", &pair("OTHER")).with("AWS_SHARED_CREDENTIALS_FILE", "~/other");
    assert_eq!(home.find().unwrap().access_key, "OTHER");
    let home = home.with("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/at/all").with("AWS_CONFIG_FILE", "");
    assert_eq!(home.find().unwrap().access_key, "CONFIG");
    let home = home.with("AWS_ACCESS_KEY_ID", "ENV").with("AWS_SECRET_ACCESS_KEY", "hush");
    assert_eq!(home.find().unwrap().access_key, "ENV");
}

#[test]
fn a_file_or_variable_that_cannot_be_read_is_named() {
    let home = Home::new().with("AWS_CONFIG_FILE", "/");
    let e = home.error();
    assert!(e.code() == Code::Config && e.message().starts_with("cannot read /: "), "{e}");
    let home = Home::new();
    fs::write(home.folder.path().join(".aws/credentials"), b"[default]\nhush\xff\n").unwrap();
    let e = home.error();
    assert!(e.code() == Code::Config && e.message().contains("/.aws/credentials: "), "{e}");
    let home = Home::new().file(".aws/credentials", &"#\n".repeat(600_000));
    assert!(home.error().message().ends_with("it is larger than 1 MiB"));
    let home = Home::new().with("AWS_ACCESS_KEY_ID", OsString::from_vec(b"hush\xff".to_vec()));
    assert_eq!(home.error().message(), "the environment variable AWS_ACCESS_KEY_ID is not UTF-8");
}

#[test]
fn a_process_prints_keys() {
    let home = Home::new().script(&format!("[ \"$*\" = '--secret hush-argument' ] && echo '{PRINTED}'"));
    let keys = home.find().unwrap();
    assert_eq!((keys.access_key.as_str(), keys.secret_key.as_str()), ("ASIA", "hush"));
    assert_eq!(keys.expires_ms, Some(1_795_527_000_000));
}

#[test]
fn the_error_of_a_failed_process_shows_its_standard_error() {
    let e = Home::new().script("echo hush; echo no  ticket >&2; exit 3").error();
    assert_eq!(e.code(), Code::Credentials);
    assert!(
        e.message().ends_with("of the profile 'default' failed (exit status: 3); its standard error: no ticket"),
        "{e}"
    );
    let e = Home::new().script("echo hush hush; echo look here >&2").error();
    assert!(e.message().contains("succeeded, but its output is not JSON"), "{e}");
    assert!(
        e.message().ends_with("its standard error: look here")
            && e.hint().starts_with("Run the credential_process by hand"),
        "{e}"
    );
    let e = Home::new().script(&format!("printf %s '{}'", &PRINTED[..80])).error();
    assert!(e.message().contains("its output is truncated"), "{e}");
    let e = Home::new().script("head -c 300000 /dev/zero; head -c 300000 /dev/zero | tr '\\0' x >&2").error();
    assert!(e.message().contains("is not JSON") && e.message().len() < 1_000, "{e}");
    let e = Home::new().file(".aws/config", "[default]\ncredential_process = /nowhere/prog hush\n").error();
    assert!(e.message().contains("'/nowhere/prog' of the profile 'default' cannot be started: "), "{e}");
}

#[test]
fn a_process_that_hangs_is_ended_with_its_children() {
    let home = Home::new();
    let pids = home.folder.path().join("pids");
    let script =
        format!("echo waiting >&2; sleep 600 & echo $$ $! > '{0}.new'; mv '{0}.new' '{0}'; wait", pids.display());
    let home = home.script(&script);
    let mut limit = 250;
    while !pids.exists() {
        limit *= 2;
        let e = home.find_within(Duration::from_millis(limit)).unwrap_err();
        assert!(e.message().contains(&format!("did not end within {limit} ms")) && e.is_retryable(), "{e}");
        assert!(!pids.exists() || e.message().ends_with("; its standard error: waiting"), "{e}");
    }
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        until(|| is_gone(pid));
    }
}

#[test]
fn a_cancel_ends_a_process() {
    let home = Home::new();
    let pids = home.folder.path().join("pids");
    let home = home.script(&format!("echo $$ > '{0}.new'; mv '{0}.new' '{0}'; exec sleep 600", pids.display()));
    let cancel = Cancel::new();
    let e = std::thread::scope(|scope| {
        scope.spawn(|| {
            until(|| pids.exists());
            cancel.trigger();
        });
        let mut control = Control { cancel: Some(cancel.clone()), ..Control::default() };
        find(&home.environment().unwrap(), "", Duration::from_secs(3_600), &mut control).unwrap_err()
    });
    assert_eq!(e.code(), Code::Cancelled);
    let pid = fs::read_to_string(&pids).unwrap();
    until(|| is_gone(pid.trim()));
}

/// Whether the process has ended, waited for or not.
fn is_gone(pid: &str) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().unwrap().starts_with('Z'),
        Err(_) => true,
    }
}

/// An endpoint that answers by path, and records its requests.
fn endpoint(
    answer: impl Fn(&ReceivedRequest) -> (u16, String) + Send + Sync + 'static,
) -> (Server, Shared<Vec<ReceivedRequest>>) {
    let seen: Shared<Vec<ReceivedRequest>> = Shared::default();
    let into = seen.clone();
    let server = Server::http(move |request, wire| {
        into.lock().unwrap().push(request.clone());
        let (status, body) = answer(request);
        reply(wire, status, body.as_bytes())
    });
    (server, seen)
}

/// The metadata of an instance with a role, version 2 only.
fn metadata(request: &ReceivedRequest) -> (u16, String) {
    let has_token = request.header("x-aws-ec2-metadata-token") == Some("hush-token==");
    match request.line.as_str() {
        "PUT /latest/api/token HTTP/1.1" if request.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            (200, "hush-token==".to_owned())
        }
        _ if !has_token => (401, String::new()),
        "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => (200, "backup".to_owned()),
        "GET /latest/meta-data/iam/security-credentials/backup HTTP/1.1" => (200, ANSWERED.to_owned()),
        _ => (404, String::new()),
    }
}

#[test]
fn an_instance_provides_keys() {
    let (server, seen) = endpoint(metadata);
    let home = Home::new().with("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url("/"));
    let keys = home.find().unwrap();
    assert_eq!((keys.access_key.as_str(), keys.session_token.unwrap().as_str()), ("ASIA", "hush-token"));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn an_instance_without_a_role_has_no_keys() {
    let (server, _) = endpoint(|request| match request.line.starts_with("PUT") {
        true => (200, "hush==".to_owned()),
        false => (404, "<html>hush</html>".to_owned()),
    });
    let e = Home::new().with("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url("/")).error();
    assert!(e.message().contains(".aws/credentials does not exist; ") && e.message().ends_with("has no role"), "{e}");
}

#[test]
fn the_chain_ends_without_a_metadata_service() {
    let (server, _) = endpoint(metadata);
    let gone = server.url("");
    drop(server);
    let mut e = Home::new().with("AWS_EC2_METADATA_SERVICE_ENDPOINT", gone.clone()).error();
    while !e.message().contains("refused") {
        // The listener may accept a last connection while it stops.
        e = Home::new().with("AWS_EC2_METADATA_SERVICE_ENDPOINT", gone.clone()).error();
    }
    for place in ["AWS_ACCESS_KEY_ID", ".aws/config", "AWS_CONTAINER_CREDENTIALS_FULL_URI", gone.as_str()] {
        assert!(e.message().contains(place), "{e}");
    }
}

#[test]
fn a_container_provides_keys_for_its_token() {
    let (server, seen) = endpoint(|request| match request.header("authorization") {
        Some("hush-from-file" | "hush-from-variable") => (200, ANSWERED.to_owned()),
        other => (403, format!(r#"{{"code": "Denied", "message": "not for {}"}}"#, other.unwrap_or("nobody"))),
    });
    let url = server.url("/hush-path?a=1");
    let home = Home::new()
        .with("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.clone())
        .with("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush-from-variable");
    assert_eq!(home.find().unwrap().access_key, "ASIA");
    let home = home.file("token", "hush-from-file\n").with("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "~/token");
    assert_eq!(home.find().unwrap().access_key, "ASIA");
    // The token is read again each time.
    let home = home.file("token", "hush-and-wrong\n");
    let e = home.error();
    assert!(e.message().ends_with("the reply is 403: the token was refused (Denied: not for ***)"), "{e}");
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|request| request.target() == "/hush-path?a=1"));
    let sent: Vec<_> = seen.iter().filter_map(|request| request.header("authorization")).collect();
    assert_eq!(sent, ["hush-from-variable", "hush-from-file", "hush-and-wrong"]);
}

#[test]
fn a_redirect_or_an_invalid_answer_of_a_container_is_refused() {
    let (elsewhere, seen) = endpoint(|_| (200, ANSWERED.to_owned()));
    let target = elsewhere.url("/");
    let server = Server::http(move |request, wire| {
        if request.target() != "/redirect" {
            return reply(wire, 200, b"<html>hush</html>");
        }
        let head = format!("HTTP/1.1 302 Found\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
        wire.write_all(head.as_bytes()).is_ok()
    });
    for (path, says) in [("/redirect", "redirects are not followed"), ("/page", "is HTML or XML, not JSON")] {
        let e = Home::new().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url(path)).error();
        assert!(e.message().ends_with(says), "{e}");
    }
    assert!(seen.lock().unwrap().is_empty(), "the redirect was followed");
}

#[test]
fn an_agent_that_is_briefly_down_is_asked_again() {
    let count = Shared::<u32>::default();
    let (server, _) = endpoint(move |_| {
        let mut count = count.lock().unwrap();
        *count += 1;
        if *count < 3 { (503, String::new()) } else { (200, ANSWERED.to_owned()) }
    });
    let home = Home::new().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url("/"));
    assert_eq!(home.find().unwrap().access_key, "ASIA");
}

/// Core parses URLs with its own rule, the transport with another parser: they must agree on the host.
#[test]
fn the_transport_sees_the_host_that_core_allowed() {
    let users = ["", "a@", "127.0.0.1@", "127.0.0.1:80@", "127.0.0.1\\@", "127.0.0.1#@", "127.0.0.1/@", "127.0.0.1?@"];
    let hosts = [
        "127.0.0.1",
        "127.9.9.9",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "169.254.170.2",
        "169.254.170.23",
        "[fd00:ec2::23]",
        "example.com",
        "169.254.169.254",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "localhost.",
        "[::ffff:127.0.0.1]",
        "[::]",
        "0.0.0.0",
        "local\thost",
        "%6cocalhost",
        "\u{ff11}27.0.0.1",
        "",
        "127.0.0.1.example.com",
        "localhost.example.com",
    ];
    let tails = [
        "",
        "/",
        "/k",
        "?k",
        ":80/",
        ":8080/k",
        ":/k",
        ":0/k",
        "\\@example.com/",
        "#@example.com/",
        "@example.com/",
        "/@example.com",
    ];
    let allowed = ["127.0.0.1", "127.9.9.9", "169.254.170.2", "169.254.170.23", "[::1]", "[fd00:ec2::23]", "localhost"];
    let mut env = Home::new().environment().unwrap();
    let mut asked = BTreeSet::new();
    for uri in users.iter().flat_map(|user| hosts.map(|host| format!("http://{user}{host}"))) {
        for uri in tails.map(|tail| format!("{uri}{tail}")) {
            env.vars.insert("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), uri.clone().into());
            let Ok(Source::Fetch(mut fetch)) = chain::resolve(&env, "") else { continue };
            let Output::Send(request) = fetch.poll(clock::now()) else { panic!("{uri}") };
            let url: hyper::Uri = request.url.parse().unwrap();
            let host = url.host().unwrap().to_ascii_lowercase();
            let ipv6 = host.trim_matches(['[', ']']).parse::<Ipv6Addr>();
            let host = ipv6.map_or(host, |ip| format!("[{ip}]"));
            assert!(allowed.contains(&host.as_str()), "{uri} goes to {url}");
            assert!(request.url.ends_with(url.path_and_query().unwrap().as_str()), "{uri} asks for {url}");
            asked.insert(host);
        }
    }
    assert_eq!(asked.iter().collect::<Vec<_>>(), allowed);
}

#[test]
fn keys_from_the_settings_are_used_as_they_are() {
    let own = settings(&[("access_key", "A"), ("secret_key", "hush"), ("session_token", "hush-token")]);
    let provider = Provider::new(&own).unwrap();
    let keys = provider.load(&mut Control::none()).unwrap();
    assert_eq!((keys.access_key.as_str(), keys.secret_key.as_str(), keys.expires_ms), ("A", "hush", None));
    assert!(!provider.is_renewable());
    assert!(!format!("{provider:?}").contains("hush"));
    let both = settings(&[("credentials", "chain"), ("access_key", "A")]);
    assert_eq!(Provider::new(&both).unwrap_err().code(), Code::InvalidOption);
}
