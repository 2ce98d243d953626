use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const KEYS: &str = r#"{"Code": "Success", "AccessKeyId": "ASIA", "SecretAccessKey": "hush", "Token": "hush-token",
    "Expiration": "2026-11-24T13:30:00Z"}"#;

/// A machine with a clock that its player moves.
struct Play {
    fetch: Fetch,
    time: u64,
}

impl Play {
    fn container(token: Option<&str>) -> Play {
        let url = "http://169.254.170.2/v2/hush-path?x=1".to_owned();
        Play { fetch: Fetch::container(url, token, &["the environment has none".to_owned()]), time: 1_000 }
    }

    fn instance() -> Play {
        Play { fetch: Fetch::instance("http://m:1".to_owned(), &["the environment has none".to_owned()]), time: 1_000 }
    }

    fn now(&self) -> Now {
        Now { unix_ms: 1_795_000_000_000, mono_ms: self.time }
    }

    fn poll(&mut self) -> Output<Credentials> {
        let now = self.now();
        self.fetch.poll(now)
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = self.now();
        self.fetch.handle(now, input);
    }

    /// The next request, after the pause before it.
    fn request(&mut self) -> Request {
        for _ in 0..3 {
            match self.poll() {
                Output::Send(request) => return request,
                Output::Wait(Some(at)) => self.time = at,
                Output::Abandon(_) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing is sent");
    }

    fn done(&mut self) -> Result<Credentials> {
        match self.poll() {
            Output::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Sends the next request, and answers it in two pieces. Gives back method and URL.
    fn answer(&mut self, status: u16, body: &str) -> String {
        let request = self.request();
        let id = request.id;
        self.handle(Input::Head { id, head: ReplyHead { status, headers: vec![] } });
        let (first, second) = body.as_bytes().split_at(body.len() / 2);
        self.handle(Input::Body { id, bytes: first });
        self.handle(Input::Body { id, bytes: second });
        self.handle(Input::End { id });
        format!("{} {}", request.method.as_str(), request.url)
    }

    fn fail(&mut self, code: Code, maybe_sent: bool) {
        let id = self.request().id;
        self.handle(Input::Failed { id, failure: TransportFailure { code, maybe_sent, detail: "refused".into() } });
    }

    /// The error that it ends with, which shows no secret.
    fn error(&mut self) -> Error {
        let e = self.done().unwrap_err();
        assert!(!format!("{e} {e:?} {:?}", self.fetch).contains("hush"), "{e}");
        e
    }
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
}

#[test]
fn a_container_gives_keys() {
    let mut play = Play::container(Some("hush-authorization"));
    let request = play.request();
    assert_eq!(request.url, "http://169.254.170.2/v2/hush-path?x=1");
    assert_eq!(header(&request, "authorization"), Some("hush-authorization"));
    assert_eq!(request.reply, ReplyBody::Collect { limit: LARGEST_REPLY });
    assert!(!format!("{:?}", play.fetch).contains("hush"));

    let mut play = Play::container(None);
    assert_eq!(header(&play.request(), "authorization"), None);
    let mut play = Play::container(None);
    play.answer(200, KEYS);
    let keys = play.done().unwrap();
    assert_eq!((keys.access_key.as_str(), keys.secret_key.as_str()), ("ASIA", "hush"));
    assert_eq!(keys.session_token.unwrap().as_str(), "hush-token");
    assert_eq!(keys.expires_ms, Some(1_795_527_000_000));
}

#[test]
fn an_instance_is_asked_for_a_token_a_role_and_its_keys() {
    let mut play = Play::instance();
    let request = play.request();
    assert_eq!(header(&request, "x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
    assert_eq!(header(&request, "x-aws-ec2-metadata-token"), None);

    let mut play = Play::instance();
    assert_eq!(play.answer(200, "AQAhush=="), "PUT http://m:1/latest/api/token");
    let request = play.request();
    assert_eq!(header(&request, "x-aws-ec2-metadata-token"), Some("AQAhush=="));
    assert_eq!(header(&request, "x-aws-ec2-metadata-token-ttl-seconds"), None);
    let id = request.id;
    play.handle(Input::Head { id, head: ReplyHead { status: 200, headers: vec![] } });
    play.handle(Input::Body { id, bytes: b"backup@role\nanother" });
    play.handle(Input::End { id });
    let url = "GET http://m:1/latest/meta-data/iam/security-credentials/backup@role";
    assert_eq!(play.answer(200, KEYS), url);
    assert_eq!(play.done().unwrap().access_key, "ASIA");
}

#[test]
fn the_chain_ends_at_once_if_nothing_answers_at_the_metadata_address() {
    for (code, maybe_sent, says) in [
        (Code::Connect, false, "refused"),
        (Code::TimedOut, false, "no reply in time"),
        (
            Code::TimedOut,
            true,
            "no reply in time; in a container, the hop limit of the instance metadata may need to be 2",
        ),
        (Code::Resolve, false, "refused"),
    ] {
        let mut play = Play::instance();
        play.fail(code, maybe_sent);
        let e = play.error();
        let message = format!(
            "no credentials were found: the environment has none; the instance metadata service (PUT \
             http://m:1/latest/api/token): {says}"
        );
        assert_eq!((e.code(), e.message()), (Code::Credentials, message.as_str()));
        assert!(!e.is_retryable());
    }
}

#[test]
fn what_passes_is_tried_three_times() {
    let mut play = Play::container(None);
    let start = play.time;
    play.fail(Code::Connect, false);
    play.answer(503, "");
    assert_eq!(play.time, start + 250);
    play.answer(500, "<html>hush</html>");
    assert_eq!(play.time, start + 250 + 500);
    let e = play.error();
    assert!(e.is_retryable(), "{e}");
    assert!(e.message().ends_with("the container agent (GET http://169.254.170.2/...): the reply is 500"), "{e}");

    let mut play = Play::container(None);
    play.answer(429, "");
    play.fail(Code::ConnectionLost, true);
    play.answer(200, KEYS);
    assert!(play.done().is_ok());
}

#[test]
fn a_token_that_has_expired_is_replaced() {
    let mut play = Play::instance();
    play.answer(200, "one");
    assert!(play.answer(401, "").ends_with("/security-credentials/"));
    assert!(play.answer(200, "two").ends_with("/api/token"));
    play.answer(200, "role");
    assert!(play.answer(401, "").ends_with("/role"));
    play.answer(200, "three");
    assert_eq!(header(&play.request(), "x-aws-ec2-metadata-token"), Some("three"));

    let mut play = Play::instance();
    for _ in 0..3 {
        play.answer(200, "hush");
        play.answer(401, "");
    }
    assert!(play.error().message().ends_with("401, the token was refused"));
}

#[test]
fn permanent_failures_are_not_retried() {
    for (status, body, says) in [
        (404, "", "/security-credentials/): the reply is 404: the instance has no role"),
        (200, "", "the reply is empty: the instance has no role"),
        (200, "<html>hush</html>", "the reply is not a role name"),
        (200, "../../hush", "the reply is not a role name"),
        (200, "..", "the reply is not a role name"),
        (302, "hush", "the reply is 302: redirects are not followed"),
        (400, "", "the reply is 400"),
    ] {
        let mut play = Play::instance();
        play.answer(200, "hush-token");
        play.answer(status, body);
        let e = play.error();
        assert!(e.message().ends_with(says) && !e.is_retryable(), "{e}");
    }
    for (status, body, says) in [
        (404, "", "version 2 of the metadata service is missing, and version 1 is never used"),
        (403, "", "the metadata service is disabled"),
        (200, "<html>hush</html>", "the reply is not a token; a proxy may have answered"),
        (200, "", "the reply is not a token; a proxy may have answered"),
        (200, "hush\nhush", "the reply is not a token; a proxy may have answered"),
        (301, "", "redirects are not followed"),
    ] {
        let mut play = Play::instance();
        play.answer(status, body);
        let e = play.error();
        assert!(e.message().ends_with(says) && e.message().contains("PUT http://m:1/latest/api/token"), "{e}");
    }
}

#[test]
fn a_reply_without_credentials_is_refused_and_not_shown() {
    let cut = &KEYS[..KEYS.len() - 20];
    for (status, body, says) in [
        (200, "<html>hush</html>", "the reply is HTML or XML, not JSON"),
        (200, cut, "the reply is truncated: the JSON is incomplete after"),
        (200, "", "the reply is empty"),
        (200, "{}", "the reply has no AccessKeyId"),
        (200, r#"{"AccessKeyId": "hush"}"#, "the reply has no SecretAccessKey"),
        (200, "hush", "the reply is not JSON"),
        (204, "", "the reply is 204"),
        (403, "", "the reply is 403: the token was refused"),
        (404, r#"{"code": "NoRole", "message": "none for hush-authorization"}"#, "404 (NoRole: none for ***)"),
        (307, KEYS, "the reply is 307: redirects are not followed"),
    ] {
        let mut play = Play::container(Some("hush-authorization"));
        play.answer(status, body);
        let e = play.error();
        assert!(e.message().contains(says) && !e.is_retryable(), "{e}");
    }
    for (body, says) in [
        (r#"{"Code": "Failed", "Message": "no trust"}"#, "the reply says Failed: no trust"),
        (r#"{"Code": "Success", "AccessKeyId": "hush", "SecretAccessKey": "hush"}"#, "the reply has no Expiration"),
    ] {
        let mut play = Play::instance();
        play.answer(200, "hush");
        play.answer(200, "role");
        play.answer(200, body);
        let e = play.error();
        assert!(e.message().ends_with(&format!("/security-credentials/role): {says}")), "{e}");
    }
}

#[test]
fn a_reply_that_trickles_in_is_abandoned() {
    let mut play = Play::container(None);
    let mut abandoned = Vec::new();
    for _ in 0..3 {
        let id = play.request().id;
        play.handle(Input::Head { id, head: ReplyHead { status: 200, headers: vec![] } });
        let Output::Wait(Some(end)) = play.poll() else { panic!() };
        assert_eq!(end, play.time + ATTEMPT_MS);
        play.time = end - 1;
        play.handle(Input::Body { id, bytes: b"{" });
        assert!(matches!(play.poll(), Output::Wait(Some(at)) if at == end));
        play.time = end;
        assert!(matches!(play.poll(), Output::Abandon(gone) if gone == id));
        abandoned.push(id);
    }
    let e = play.error();
    assert!(e.message().ends_with("no reply in time") && e.is_retryable(), "{e}");
    // Later inputs for these requests are ignored.
    for id in abandoned {
        play.handle(Input::End { id });
    }
    assert!(matches!(play.poll(), Output::Wait(None)));
}

#[test]
fn a_cancel_ends_it_at_every_step() {
    let mut play = Play::instance();
    play.handle(Input::Cancel);
    assert_eq!(play.error().code(), Code::Cancelled);

    let mut play = Play::instance();
    let id = play.request().id;
    play.handle(Input::Cancel);
    assert!(matches!(play.poll(), Output::Abandon(gone) if gone == id));
    assert_eq!(play.error().code(), Code::Cancelled);

    let mut play = Play::container(None);
    play.fail(Code::Connect, false);
    play.handle(Input::Cancel);
    assert_eq!(play.error().code(), Code::Cancelled);
}

#[test]
fn replies_to_others_are_ignored() {
    let mut play = Play::container(None);
    let id = play.request().id;
    let other = RequestId(id.0 + 7);
    play.handle(Input::Head { id: other, head: ReplyHead { status: 500, headers: vec![] } });
    play.handle(Input::Body { id: other, bytes: b"x" });
    play.handle(Input::End { id: other });
    play.handle(Input::Retry);
    assert!(matches!(play.poll(), Output::Wait(Some(_))));
}

#[test]
fn what_an_endpoint_says_is_shown_on_one_line_and_short() {
    let foreign = "\u{1b}[31m\n\u{202e}".repeat(20_000);
    let quoted = serde_json::to_string(&foreign).unwrap();
    for (what, status, body) in [
        ("refusal", 404, format!("{{\"code\": {quoted}, \"message\": {quoted}}}")),
        ("code", 200, format!("{{\"Code\": {quoted}}}")),
        ("time", 200, KEYS.replace("\"2026-11-24T13:30:00Z\"", &quoted)),
        ("no JSON", 200, foreign.clone()),
    ] {
        let mut play = Play::container(None);
        play.answer(status, &body);
        let mut instance = Play::instance();
        instance.answer(200, "AQAhush==");
        instance.answer(200, "role");
        instance.answer(status, &body);
        let errors = [play.done().err(), instance.done().err()];
        assert!(errors.iter().any(Option::is_some), "{what}");
        for e in errors.into_iter().flatten() {
            let text = format!("{e:?}");
            assert!(
                !text.contains(|c: char| c.is_control() || c == '\u{202e}') && text.len() < 2_000,
                "{what}: {text}"
            );
        }
    }
}
