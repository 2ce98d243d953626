//! Tests of a call against scripted replies: retries, learned regions, clocks and keys, and final errors.

use std::sync::Arc;

use super::*;
use crate::account::Bucket;
use crate::account::bucket::tests::bucket;
use crate::credentials::Credentials;
use crate::http::{Range, Request, TransportFailure};
use crate::machine::{Event, Input, Machine, Output};
use crate::profile::S3;
use crate::time::Now;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const START: i64 = 1_764_000_000_000;
const HOUR: i64 = 3_600_000;

pub(super) enum Answer {
    /// Status, headers, body.
    Reply(u16, Vec<(&'static str, String)>, String),
    Lost,
}

fn xml(status: u16, code: &str) -> Answer {
    let body = format!("<Error><Code>{code}</Code><Message>Why</Message><Region>eu-west-1</Region></Error>");
    Answer::Reply(status, vec![], body)
}

fn ok() -> Answer {
    Answer::Reply(200, vec![("etag", "\"not-an-md5\"".into())], "hello".into())
}

/// The course of an operation.
pub(super) struct Outcome<T> {
    pub(super) sent: Vec<Request>,
    /// Monotonic times at which the requests were sent.
    at: Vec<u64>,
    /// How often keys were requested.
    asked: u32,
    events: Vec<Event>,
    pub(super) result: Result<T>,
}

fn credentials(access_key: &str) -> Credentials {
    let mut settings = crate::settings::Settings::new();
    settings.set("access_key", access_key).unwrap();
    settings.set("secret_key", "S2").unwrap();
    Credentials::from_settings(&settings).unwrap()
}

/// Runs an operation; `renew` sets new keys when they are requested.
pub(super) fn run<O: Operation + Send + 'static>(
    bucket: &Arc<Bucket>,
    op: O,
    answers: impl IntoIterator<Item = Answer>,
    mut renew: impl FnMut(&Bucket) -> bool,
) -> Outcome<O::Reply> {
    let mut machine = Single::new(bucket, op, 1);
    let (mut sent, mut at, mut asked, mut events, mut mono_ms) = (Vec::new(), Vec::new(), 0, Vec::new(), 0);
    let mut answers = answers.into_iter();
    loop {
        let now = Now { unix_ms: START + mono_ms as i64, mono_ms };
        match machine.poll(now) {
            Output::Send(request) => {
                mono_ms += 10;
                let (id, now) = (request.id, Now { unix_ms: START + mono_ms as i64, mono_ms });
                at.push(mono_ms - 10);
                sent.push(request);
                match answers.next().expect("no more requests than replies") {
                    Answer::Lost => {
                        let detail = "the connection was lost".to_owned();
                        let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail };
                        machine.handle(now, Input::Failed { id, failure });
                    }
                    Answer::Reply(status, headers, body) => {
                        let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
                        machine.handle(now, Input::Head { id, head: ReplyHead { status, headers } });
                        machine.handle(now, Input::Body { id, bytes: body.as_bytes() });
                        machine.handle(now, Input::End { id });
                    }
                }
            }
            Output::NeedCredentials { .. } => {
                asked += 1;
                let renewed = renew(bucket);
                machine.handle(now, if renewed { Input::CredentialsRenewed } else { Input::CredentialsKept(None) });
            }
            Output::Wait(at) => mono_ms = mono_ms.max(at.expect("an end")),
            Output::Abandon(_) => {}
            Output::Event(event) => events.push(event),
            Output::Done(result) => return Outcome { sent, at, asked, events, result },
            _ => panic!("payload was requested"),
        }
    }
}

fn get(changes: &[(&str, &str)], answers: Vec<Answer>) -> Outcome<Vec<u8>> {
    run(&Arc::new(bucket(changes).unwrap()), GetObject::new("k", 100), answers, |_| false)
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| &**value)
}

#[test]
fn a_region_that_was_not_set_is_learned_once() {
    let redirect = || Answer::Reply(301, vec![("x-amz-bucket-region", "eu-west-1".into())], String::new());
    for first in [xml(400, "AuthorizationHeaderMalformed"), redirect(), xml(307, "TemporaryRedirect")] {
        let bucket = Arc::new(bucket(&[]).unwrap());
        let op = GetObject::new("k", 100);
        let outcome = run(&bucket, op.clone(), vec![first, ok()], |_| false);
        assert_eq!(outcome.result.unwrap(), b"hello");
        assert!(header(&outcome.sent[0], "authorization").contains("/us-east-1/s3/"));
        assert!(header(&outcome.sent[1], "authorization").contains("/eu-west-1/s3/"));
        let next = run(&bucket, op, vec![ok()], |_| false);
        assert!(header(&next.sent[0], "authorization").contains("/eu-west-1/s3/"), "known from then on");
    }
    let elsewhere = Answer::Reply(301, vec![("x-amz-bucket-region", "eu-north-1".into())], String::new());
    let e = get(&[], vec![redirect(), elsewhere]).result.unwrap_err();
    assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = eu-north-1."), "one redirect is followed");
    let e = get(&[], vec![redirect(), redirect()]).result.unwrap_err();
    assert_eq!(
        (e.code(), e.hint()),
        (Code::WrongRegion, "Set region = eu-west-1."),
        "a store that redirects in circles"
    );
}

#[test]
fn a_wrong_region_in_the_settings_is_an_error_that_names_the_right_one() {
    let outcome = get(&[("region", "us-west-2")], vec![xml(400, "AuthorizationHeaderMalformed")]);
    let e = outcome.result.unwrap_err();
    assert_eq!((e.code(), e.hint()), (Code::WrongRegion, "Set region = eu-west-1."));
}

#[test]
fn a_clock_skew_of_an_hour_is_learned_from_the_error() {
    let skewed = |headers| {
        let body = format!(
            "<Error><Code>RequestTimeTooSkewed</Code><ServerTime>{}</ServerTime></Error>",
            crate::time::rfc3339(START + HOUR)
        );
        Answer::Reply(403, headers, body)
    };
    let outcome = get(&[], vec![skewed(vec![]), ok()]);
    outcome.result.unwrap();
    assert_eq!(signed_at(&outcome.sent), [0, HOUR]);
    let e = get(&[], vec![skewed(vec![]), skewed(vec![])]).result.unwrap_err();
    assert_eq!(e.code(), Code::ClockSkew);
    // A proxy's Date does not count against the store's own word, nor later.
    let bucket = Arc::new(bucket(&[]).unwrap());
    let by_proxy = || vec![date(START + 20 * MINUTE)];
    let op = GetObject::new("k", 100);
    let outcome = run(&bucket, op.clone(), vec![skewed(by_proxy()), ok()], |_| false);
    assert_eq!(signed_at(&outcome.sent), [0, HOUR]);
    let denied = Answer::Reply(403, by_proxy(), "<Error><Code>AccessDenied</Code></Error>".into());
    run(&bucket, op.clone(), vec![denied], |_| false).result.unwrap_err();
    assert_eq!(signed_at(&run(&bucket, op, vec![ok()], |_| false).sent), [HOUR]);
}

const MINUTE: i64 = 60_000;

fn date(unix_ms: i64) -> (&'static str, String) {
    let at = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(unix_ms as u64);
    ("date", s3_model::http::http_date(at))
}

/// The dates of signatures, in milliseconds after the start and rounded to minutes.
fn signed_at(sent: &[Request]) -> Vec<i64> {
    let at = |request: &Request| {
        let date = header(request, "x-amz-date");
        let mut minutes = (-120..=120).map(|minutes| minutes * MINUTE);
        let same =
            |minutes: &i64| (-5..=5).any(|seconds| crate::time::amz_date(START + minutes + seconds * 1000) == date);
        minutes.find(same).unwrap()
    };
    sent.iter().map(at).collect()
}

fn refused_date(date_ms: i64) -> Answer {
    let headers = vec![date(date_ms), ("via", "1.1 squid".into())];
    Answer::Reply(403, headers, "<Error><Code>RequestTimeTooSkewed</Code></Error>".into())
}

#[test]
fn the_date_of_a_proxy_whose_clock_is_wrong_is_not_believed() {
    let wrong = START + 20 * MINUTE;
    let with_date = |mut headers: Vec<(&'static str, String)>| {
        headers.push(("etag", "e".into()));
        Answer::Reply(200, headers, "hello".into())
    };
    let op = GetObject::new("k", 100);
    // The store has accepted a date that is twenty minutes earlier, so its clock is not that of the reply.
    let proxied = Arc::new(bucket(&[]).unwrap());
    for _ in 0..3 {
        let outcome = run(&proxied, op.clone(), vec![with_date(vec![date(wrong)])], |_| false);
        assert_eq!(signed_at(&outcome.sent), [0]);
    }
    // A refusal does not show that. Its Date is tried, and then this machine's clock, which stays.
    let denied = || Answer::Reply(403, vec![date(wrong)], "<Error><Code>AccessDenied</Code></Error>".into());
    run(&proxied, op.clone(), vec![denied()], |_| false).result.unwrap_err();
    let answers = vec![refused_date(wrong), with_date(vec![date(wrong)])];
    let outcome = run(&proxied, op.clone(), answers, |_| false);
    outcome.result.unwrap();
    assert_eq!(signed_at(&outcome.sent), [20 * MINUTE, 0]);
    run(&proxied, op.clone(), vec![denied()], |_| false).result.unwrap_err();
    assert_eq!(signed_at(&run(&proxied, op.clone(), vec![ok()], |_| false).sent), [0]);
    // A reply from a cache has the date at which it was stored.
    let cached = Arc::new(bucket(&[]).unwrap());
    let aged = with_date(vec![date(START - 10 * MINUTE), ("age", "600".into())]);
    run(&cached, op.clone(), vec![aged], |_| false).result.unwrap();
    assert_eq!(signed_at(&run(&cached, op, vec![ok()], |_| false).sent), [0]);
}

#[test]
fn clocks_that_change_during_a_request_are_learned_again_a_few_times() {
    let steps = |minutes: &[i64]| minutes.iter().map(|minutes| refused_date(START + minutes * MINUTE)).collect();
    let mut twice: Vec<Answer> = steps(&[60, -30]);
    twice.push(ok());
    let outcome = get(&[], twice);
    outcome.result.unwrap();
    assert_eq!(signed_at(&outcome.sent), [0, 60 * MINUTE, -30 * MINUTE]);
    let e = get(&[], steps(&[60, -60, 60, -60, 60])).result.unwrap_err();
    assert_eq!(e.code(), Code::ClockSkew, "not without end");
}

#[test]
fn a_clock_skew_that_stays_names_the_clocks_and_the_proxy() {
    let wrong = START + 20 * MINUTE;
    let e = get(&[], vec![refused_date(wrong), refused_date(wrong)]).result.unwrap_err();
    assert!(e.code() == Code::ClockSkew && e.message().contains("clock and that of the replies were tried"), "{e}");
    assert!(e.hint().contains("1200 s ahead of it; if the proxy (Via: 1.1 squid) wrote that Date"), "{e}");
    let e = get(&[], vec![refused_date(START)]).result.unwrap_err();
    assert!(e.hint().contains("agrees with the Date of the replies"), "{e}");
    let none = Answer::Reply(403, vec![], "<Error><Code>RequestTimeTooSkewed</Code></Error>".into());
    assert_eq!(get(&[], vec![none]).result.unwrap_err().hint(), Code::ClockSkew.info().hint);
}

#[test]
fn a_compressed_reply_is_refused_at_once_with_what_compresses() {
    let gzip = |status, via: bool| {
        let mut headers = vec![("content-encoding", "gzip".to_owned()), ("etag", "e".into())];
        headers.extend(via.then(|| ("via", "1.1 varnish".to_owned())));
        Answer::Reply(status, headers, "\x1f\u{8b}\u{8}".into())
    };
    let bucket = Arc::new(bucket(&[]).unwrap());
    let outcome = run(&bucket, ListObjectsV2::default(), vec![gzip(200, true)], |_| false);
    let e = outcome.result.unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("Content-Encoding gzip"), "{e}");
    assert!(e.message().contains("the proxy (Via: 1.1 varnish)") && e.hint().contains("compression off"), "{e}");
    let (accepts, authorization) =
        (header(&outcome.sent[0], "accept-encoding"), header(&outcome.sent[0], "authorization"));
    assert!(accepts == "identity" && !authorization.contains("accept-encoding"), "some proxies change it");
    let e = get(&[], vec![gzip(200, false)]).result.unwrap_err();
    assert!(e.message().contains("a proxy on the way or the store compresses"), "{e}");
    let e = get(&[], vec![gzip(404, true)]).result.unwrap_err();
    assert!(e.code() == Code::BadReply && e.hint().contains("compression off"), "it may be any 404: {e}");
    assert!(get(&[], vec![gzip(503, true), ok()]).result.is_ok(), "a proxy's own page");
    let chunked =
        Answer::Reply(200, vec![("content-encoding", "aws-chunked".into()), ("etag", "e".into())], "x".into());
    assert!(get(&[], vec![chunked]).result.is_ok());
    let head = HeadObject { key: "k".into(), ..HeadObject::default() };
    let outcome = run(&bucket, head, vec![gzip(200, true)], |_| false);
    assert!(!outcome.result.is_err_and(|e| e.message().contains("Content-Encoding")), "there is no body");
}

#[test]
fn refused_keys_are_renewed_and_the_request_is_retried() {
    for code in ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"] {
        let bucket = Arc::new(bucket(&[]).unwrap());
        let op = GetObject::new("k", 100);
        let outcome = run(&bucket, op, vec![xml(403, code), ok()], |bucket| {
            bucket.account().renew(credentials("NEW"));
            true
        });
        outcome.result.unwrap();
        assert_eq!(outcome.asked, 1);
        assert!(header(&outcome.sent[1], "authorization").contains("Credential=NEW/"));
    }
}

#[test]
fn keys_that_are_not_renewed_end_with_the_stores_error() {
    let outcome = get(&[], vec![xml(400, "ExpiredToken")]);
    let e = outcome.result.unwrap_err();
    assert_eq!((e.code(), e.s3_code(), outcome.asked), (Code::AccessDenied, "ExpiredToken", 1));
    assert!(e.hint().contains("session_token"), "{e}");
    // A caller whose keys never work is asked three times.
    let bucket = Arc::new(bucket(&[]).unwrap());
    let op = GetObject::new("k", 100);
    let outcome = run(&bucket, op, (0..4).map(|_| xml(403, "InvalidAccessKeyId")), |bucket| {
        bucket.account().renew(credentials("BAD"));
        true
    });
    assert_eq!((outcome.result.unwrap_err().code(), outcome.asked), (Code::UnknownAccessKey, 3));
}

#[test]
fn keys_are_renewed_before_they_expire() {
    let ending = |left_ms| {
        let bucket = bucket(&[]).unwrap();
        bucket.account().renew(Credentials { expires_ms: Some(START + left_ms), ..credentials("OLD") });
        Arc::new(bucket)
    };
    let op = GetObject::new("k", 100);
    for left in [-1, 60_000] {
        let outcome = run(&ending(left), op.clone(), vec![ok()], |bucket| {
            bucket.account().renew(credentials("NEW"));
            true
        });
        assert_eq!(outcome.asked, 1);
        assert!(header(&outcome.sent[0], "authorization").contains("Credential=NEW/"));
    }
    let outcome = run(&ending(60_000), op.clone(), vec![ok()], |_| false);
    assert!(outcome.result.is_ok() && outcome.asked == 1, "the old ones are valid for another minute");
    let e = run(&ending(-1), op.clone(), vec![], |_| false).result.unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::AccessDenied, "GetObject: the temporary credentials have expired"));
    assert_eq!(run(&ending(600_000), op, vec![ok()], |_| panic!("there is time")).asked, 0);
}

#[test]
fn keys_that_were_renewed_meanwhile_need_no_asking() {
    let bucket = Arc::new(bucket(&[]).unwrap());
    let mut machine = Single::new(&bucket, GetObject::new("k", 100), 1);
    let now = Now { unix_ms: START, mono_ms: 0 };
    let Output::Send(request) = machine.poll(now) else { panic!() };
    bucket.account().renew(credentials("NEW"));
    let head = ReplyHead { status: 403, headers: vec![] };
    let body = b"<Error><Code>InvalidAccessKeyId</Code></Error>";
    machine.handle(now, Input::Head { id: request.id, head });
    machine.handle(now, Input::Body { id: request.id, bytes: body });
    machine.handle(now, Input::End { id: request.id });
    let Output::Send(request) = machine.poll(now) else { panic!("keys are requested that were already renewed") };
    assert!(header(&request, "authorization").contains("Credential=NEW/"));
}

#[test]
fn a_missing_permission_is_named_by_its_action() {
    let e = get(&[], vec![xml(403, "AccessDenied")]).result.unwrap_err();
    assert_eq!(e.code(), Code::AccessDenied);
    assert!(e.hint().contains("s3:GetObject on arn:aws:s3:::bkt/*"), "{e}");
    assert!(e.hint().contains("without s3:ListBucket"), "403 instead of 404: {e}");
    let version = GetObject { version_id: Some("v".into()), ..GetObject::new("k", 9) };
    let e =
        run(&Arc::new(bucket(&[]).unwrap()), version, vec![xml(403, "AccessDenied")], |_| false).result.unwrap_err();
    assert!(e.hint().contains("s3:GetObjectVersion on arn:aws:s3:::bkt/*"), "{e}");
    let list = ListObjectsV2::default();
    let e = run(&Arc::new(bucket(&[]).unwrap()), list, vec![xml(403, "AccessDenied")], |_| false).result.unwrap_err();
    assert!(e.hint().contains("s3:ListBucket on arn:aws:s3:::bkt."), "{e}");
}

#[test]
fn replies_with_status_200_that_are_not_successes() {
    let other = || Answer::Reply(200, vec![], "<ListAllMyBucketsResult></ListAllMyBucketsResult>".into());
    let html = || Answer::Reply(200, vec![], "<!DOCTYPE html><html><body>Log in</body></html>".into());
    let listed = |answers| {
        let bucket = Arc::new(bucket(&[]).unwrap());
        run(&bucket, ListObjectsV2::default(), answers, |_| false)
    };
    let e = listed(vec![html()]).result.unwrap_err();
    assert_eq!(e.code(), Code::BadReply);
    assert!(e.message().contains("200") && e.message().contains("Log in"), "{e}");

    let e = listed(vec![other()]).result.unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("ListAllMyBucketsResult"), "once is enough: {e}");

    // A retry helps after an error with status 200, an empty body or a truncated one.
    let whole = || Answer::Reply(200, vec![], "<ListBucketResult></ListBucketResult>".into());
    let error_in_200 =
        || Answer::Reply(200, vec![], "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>".into());
    let empty = || Answer::Reply(200, vec![], String::new());
    let cut = || Answer::Reply(200, vec![], "<ListBucketResult><Contents><Key>a".into());
    assert!(listed(vec![error_in_200(), empty(), cut(), whole()]).result.unwrap().objects.is_empty());
    let e = listed((0..6).map(|_| empty()).collect()).result.unwrap_err();
    assert!(e.code() == Code::BadReply && e.message().contains("(tried 6 times)"), "{e}");

    // A 503 without a body; a 403 and a 404 with a proxy's page.
    let silent = Answer::Reply(503, vec![], String::new());
    assert!(listed(vec![silent, whole()]).result.is_ok());
    for status in [403, 404] {
        let e = listed(vec![Answer::Reply(status, vec![], "<html>Blocked</html>".into())]).result.unwrap_err();
        assert!(e.code() == Code::BadReply && e.hint().contains("proxy"), "{e}");
    }
}

#[test]
fn retry_after_is_respected_and_all_retries_share_the_token_bucket() {
    let slow = || Answer::Reply(503, vec![("retry-after", "7".into())], "<Error><Code>SlowDown</Code></Error>".into());
    let bucket = Arc::new(bucket(&[]).unwrap());
    bucket.account().answers();
    let outcome = run(&bucket, GetObject::new("k", 100), vec![slow(), ok()], |_| false);
    assert!((7_000..8_000).contains(&(outcome.at[1] - outcome.at[0])), "{:?}", outcome.at);
    for _ in 0..120 {
        bucket.account().take_retry(Now { unix_ms: START, mono_ms: 0 });
    }
    let op = GetObject::new("k", 100);
    let outcome = run(&bucket, op, vec![Answer::Lost, ok()], |_| false);
    assert!(outcome.at[1] >= 2_000, "twenty others wait for their tokens: {:?}", outcome.at);
}

/// Runs a query whose answers are all lost. Returns when the attempts were made.
fn away(has_answered: bool, changes: &[(&str, &str)]) -> Outcome<Vec<u8>> {
    let bucket = Arc::new(bucket(changes).unwrap());
    if has_answered {
        bucket.account().answers();
    }
    run(&bucket, GetObject::new("k", 100), (0..1000).map(|_| Answer::Lost), |_| false)
}

#[test]
fn a_store_that_is_away_ends_a_query_after_its_time() {
    for (has_answered, retry_time, limit) in
        [(false, "900", 3_000), (true, "900", 30_000), (true, "10", 10_000), (true, "0", 0)]
    {
        let Outcome { at, result, .. } = away(has_answered, &[("retry_time", retry_time)]);
        let (took, attempts) = (at.last().unwrap() - at[0], at.len());
        assert!((limit..=limit + 10).contains(&took), "{took} of {limit}");
        let message = result.unwrap_err().message().to_owned();
        let tried = format!("(tried {attempts} times in {} s)", limit / 1000);
        assert!(if limit == 0 { !message.contains("tried") } else { message.ends_with(&tried) }, "{message}");
    }
}

#[test]
fn a_store_that_is_away_is_reported_and_so_is_its_return() {
    let answers = |lost| (0..lost).map(|_| Answer::Lost).chain([ok()]);
    let known = Arc::new(bucket(&[]).unwrap());
    known.account().answers();
    let outcome = run(&known, GetObject::new("k", 100), answers(9), |_| false);
    outcome.result.unwrap();
    let took = outcome.at.last().unwrap() - outcome.at[0];
    let [Event::Away { why, for_ms, retry_time_ms: 30_000 }, Event::Back { after_ms }] = &outcome.events[..] else {
        panic!("{:?}", outcome.events)
    };
    assert!(why.contains("the connection was lost") && *for_ms <= 3_000 && *after_ms <= took && *after_ms > 3_000);
    assert!(outcome.events[0].to_string().contains("retrying for up to 30 s (retry_time)"), "{}", outcome.events[0]);

    let short = run(&known, GetObject::new("k", 100), answers(2), |_| false);
    assert!(short.events.is_empty(), "a failure or two are no outage: {:?}", short.events);
    assert!(away(false, &[]).events.is_empty(), "a wrong address is not a store that is away");
}

/// A transfer outlives minutes, and says so each minute; names that do not resolve meanwhile do not end it.
#[test]
fn a_transfer_keeps_trying_for_the_retry_time() {
    let bucket = Arc::new(bucket(&[]).unwrap());
    bucket.account().answers();
    let mut session = Session::new(&bucket, 1);
    let mut call = Call::new(GetObject::new("k", 100));
    let (mut mono_ms, mut reports) = (0, 0);
    let e = loop {
        let now = Now { unix_ms: START + mono_ms as i64, mono_ms };
        while let Some(Output::<()>::Event(event)) = session.pending() {
            assert!(matches!(event, Event::Away { retry_time_ms: 900_000, .. }), "{event:?}");
            reports += 1;
        }
        match call.poll(&mut session, now) {
            Next::Send(Request { id, .. }) => {
                let code = if id.0 % 2 == 0 { Code::Resolve } else { Code::Connect };
                let failure = TransportFailure { code, maybe_sent: false, detail: "away".into() };
                if let Some(answer) = call.handle(&mut session, now, &Input::Failed { id, failure }) {
                    break answer.unwrap_err();
                }
            }
            Next::Wait(at) => mono_ms = at.expect("an end"),
            Next::NeedCredentials(_) => panic!("keys were requested"),
        }
    };
    assert_eq!(mono_ms, 900_000);
    assert!((14..=16).contains(&reports) && e.message().ends_with("times in 900 s)"), "{reports}: {e}");
}

#[test]
fn only_a_repeatable_operation_is_retried_after_an_unknown_outcome() {
    #[derive(Clone)]
    struct Once;
    impl Operation for Once {
        type Reply = ();
        const NAME: &'static str = "Once";
        const ACTION: &'static str = "s3:Once";
        const REPEATABLE: bool = false;
        fn request(&self) -> Unsigned {
            Unsigned::bucket(Method::Post)
        }
        fn parse(&self, _reply: &mut Reply<'_>) -> Result<()> {
            Ok(())
        }
    }
    let run = |answers| run(&Arc::new(bucket(&[]).unwrap()), Once, answers, |_| false);
    let lost = run(vec![Answer::Lost]);
    assert!(lost.sent.len() == 1 && lost.result.unwrap_err().is_maybe_sent());
    assert_eq!(run(vec![xml(500, "InternalError")]).sent.len(), 1);
    assert_eq!(run(vec![xml(503, "SlowDown"), Answer::Reply(200, vec![], String::new())]).sent.len(), 2);
    assert_eq!(get(&[], vec![Answer::Lost, ok()]).sent.len(), 2);
}

#[test]
fn a_host_with_the_bucket_in_it_that_does_not_resolve_asks_for_path_style() {
    let bucket = Arc::new(bucket(&[("api_url", "http://s3.example.com"), ("path_style", "false")]).unwrap());
    let mut machine = Single::new(&bucket, GetObject::new("k", 100), 1);
    let now = Now { unix_ms: START, mono_ms: 0 };
    let Output::Send(request) = machine.poll(now) else { panic!() };
    let failure = TransportFailure { code: Code::Resolve, maybe_sent: false, detail: "no such host".into() };
    machine.handle(now, Input::Failed { id: request.id, failure });
    let Output::Done(Err(e)) = machine.poll(now) else { panic!() };
    assert!(e.hint().contains("path_style = true"), "{e}");
}

/// A call, dated or not, whose first attempt is answered 10 ms after it was sent.
fn answered(dated: Option<i64>, answer: Answer) -> (Option<Result<PutReply>>, Call<PutObject>) {
    let mut session = Session::new(&Arc::new(bucket(&[]).unwrap()), 1);
    session.account().answers();
    let at = |mono_ms: u64| Now { unix_ms: START + mono_ms as i64, mono_ms };
    let op = PutObject::new("k", Content::Bytes("x".into()), Vec::new());
    let mut call = dated.map_or_else(|| Call::new(op.clone()), |date| Call::dated(op.clone(), date));
    let Next::Send(request) = call.poll(&mut session, at(0)) else { panic!("it is sent") };
    let (id, now) = (request.id, at(10));
    let answer = match answer {
        Answer::Lost => {
            let detail = "the connection was lost".to_owned();
            let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail };
            call.handle(&mut session, now, &Input::Failed { id, failure })
        }
        Answer::Reply(status, headers, body) => {
            let headers = headers.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            call.handle(&mut session, now, &Input::Head { id, head: ReplyHead { status, headers } });
            call.handle(&mut session, now, &Input::Body { id, bytes: body.as_bytes() });
            call.handle(&mut session, now, &Input::End { id })
        }
    };
    (answer, call)
}

/// A caller that cannot tell whether a request took effect must look.
#[test]
fn an_attempt_without_a_definite_answer_may_have_taken_effect() {
    let page = || Answer::Reply(200, vec![], "<html>a proxy</html>".into());
    for (answer, maybe) in
        [(Answer::Lost, true), (xml(500, "InternalError"), true), (page(), true), (xml(503, "SlowDown"), false)]
    {
        assert_eq!(answered(None, answer).1.maybe_done(), maybe);
    }
}

/// The store would refuse the retry, and the caller has to check again anyway.
#[test]
fn a_dated_request_is_not_retried_when_its_date_will_have_passed() {
    let slow = || Answer::Reply(503, vec![("retry-after", "30".into())], String::new());
    let age = S3.max_request_age_ms;
    let left = |ms: i64| answered(Some(START - age + ms), slow()).0;
    assert!(left(31_000).is_none(), "there is time");
    assert!(left(29_000).is_some_and(|answer| answer.is_err_and(|e| e.is_expired())));
    assert!(left(5).is_some_and(|answer| answer.is_err_and(|e| e.is_expired())));
    assert!(answered(None, slow()).0.is_none(), "another request has no date that passes");
    // Nor does it wait in the transport for longer.
    let mut session = Session::new(&Arc::new(bucket(&[]).unwrap()), 1);
    let op = || PutObject::new("k", Content::Bytes("x".into()), Vec::new());
    let now = Now { unix_ms: START + 60_000, mono_ms: 5 };
    let age = age as u64;
    for (mut call, drop_at) in [(Call::dated(op(), START), Some(5 + age - 60_000)), (Call::new(op()), None)] {
        let Next::Send(request) = call.poll(&mut session, now) else { panic!("it is sent") };
        assert_eq!(request.drop_at, drop_at);
    }
}

/// Polls an operation that was sent a minute ago without a reply. Returns whether it was abandoned for another attempt.
fn is_hedged<O: Operation>(op: O, dated: bool) -> bool {
    let bucket = Arc::new(bucket(&[]).unwrap());
    (0..16).for_each(|_| bucket.account().first_bytes().answered(50));
    let mut session = Session::new(&bucket, 1);
    let at = |mono_ms: u64| Now { unix_ms: START + mono_ms as i64, mono_ms };
    let mut call = if dated { Call::dated(op, START) } else { Call::new(op) };
    let Next::Send(request) = call.poll(&mut session, at(0)) else { panic!("it is sent") };
    assert!(matches!(call.poll(&mut session, at(60_000)), Next::Wait(None)), "sending may take long");
    assert!(call.handle(&mut session, at(60_000), &Input::Sent { id: request.id }).is_none());
    let waits = matches!(call.poll(&mut session, at(60_999)), Next::Wait(Some(61_000)));
    assert!(session.abandoned().is_none());
    let again = matches!(call.poll(&mut session, at(61_000)), Next::Wait(Some(61_000)));
    let abandoned = session.abandoned() == Some(request.id);
    assert_eq!((waits, again), (abandoned, abandoned), "the driver is told when to poll again");
    if abandoned {
        assert!(call.maybe_done(), "the abandoned attempt may have taken effect");
        let Next::Send(second) = call.poll(&mut session, at(61_000)) else { panic!("it is sent at once") };
        let head = ReplyHead { status: 206, headers: vec![] };
        let late = Input::Head { id: request.id, head };
        assert!(call.handle(&mut session, at(61_001), &late).is_none() && call.is_sending(second.id));
        call.handle(&mut session, at(61_001), &Input::Sent { id: second.id });
        assert!(matches!(call.poll(&mut session, at(61_001)), Next::Wait(Some(63_001))), "twice as long");
    }
    abandoned
}

#[test]
fn only_requests_that_transfer_parts_are_hedged() {
    let part = Part {
        number: 1,
        offset: 0,
        length: 5,
        stored: 5,
        digest: Some(crate::checksum::digest(b"hello")),
        md5: None,
        salt: None,
    };
    let encryption = Encryption::default();
    let upload = UploadPart { key: "k".into(), upload_id: "u".into(), number: 1, part, encryption };
    let range = Range::of_part(0, 0, 5);
    let range = GetRange {
        key: "k".into(),
        version_id: None,
        etag: None,
        encryption: Encryption::default(),
        sequential: false,
        range,
    };
    assert!(is_hedged(upload.clone(), false) && is_hedged(range, false));
    assert!(!is_hedged(upload, true), "a dated request");
    assert!(!is_hedged(GetObject::new("k", 100), false) && !is_hedged(ListObjectsV2::default(), false));
    assert!(!is_hedged(PutObject::new("k", Content::Part(part), Vec::new()), false), "a backup that is one PUT");
}

#[test]
fn a_hedge_is_not_an_attempt_that_failed() {
    let bucket = Arc::new(bucket(&[]).unwrap());
    (0..16).for_each(|_| bucket.account().first_bytes().answered(50));
    let mut session = Session::new(&bucket, 1);
    let range = Range::of_part(0, 0, 5);
    let encryption = Encryption::default();
    let mut call =
        Call::new(GetRange { key: "k".into(), version_id: None, etag: None, encryption, sequential: false, range });
    let (mut sent, mut mono_ms) = (0, 0);
    let e = loop {
        let now = Now { unix_ms: START + mono_ms as i64, mono_ms };
        match call.poll(&mut session, now) {
            Next::Send(request) => {
                let id = request.id;
                sent += 1;
                call.handle(&mut session, now, &Input::Sent { id });
                if sent > 2 {
                    let detail = "the connection was lost".to_owned();
                    let failure = TransportFailure { code: Code::ConnectionLost, maybe_sent: true, detail };
                    if let Some(answer) = call.handle(&mut session, now, &Input::Failed { id, failure }) {
                        break answer.unwrap_err();
                    }
                }
            }
            Next::Wait(at) => mono_ms = at.expect("an end"),
            Next::NeedCredentials(_) => panic!("keys were requested"),
        }
    };
    assert!(e.message().ends_with(&format!("(tried {} times in 3 s)", sent - 2)), "{e}");
}
