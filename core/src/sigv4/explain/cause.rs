//! The likely cause of a difference, and what to do, in one or two sentences.

use super::reply::Reply;
use super::request::Request;
use super::{Difference, Part};
use crate::time::parse_rfc3339;
use crate::uri;

/// Headers that proxies may legitimately change.
const HOPPING: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-forwarded-for",
];

pub(super) fn cause(request: &Request, reply: &Reply, difference: Option<&Difference>) -> String {
    let Some(d) = difference else { return without_difference(request, reply) };
    match d.part {
        Part::Method => format!(
            "A proxy or a redirect changed the method from {} to {}: send the request to the store itself.",
            d.ours, d.store
        ),
        Part::Path => path(&d.ours, &d.store),
        Part::Query => query(&d.name, &d.ours, &d.store),
        Part::Header => header(d),
        Part::SignedHeaders => "The list of signed headers is another one: something on the way rewrote the \
                                Authorization header."
            .into(),
        Part::Payload => "The body's hash is another one: the body changed on the way, or x-amz-content-sha256 was \
                          made for another body. Something that compresses or rewrites bodies must not stand between."
            .into(),
        Part::Date if reply.code == "RequestTimeTooSkewed" => skew(&d.ours, &d.store),
        Part::Date => "The date differs: something on the way rewrote x-amz-date.".into(),
        Part::Scope => {
            let region = if reply.region.is_empty() { d.store.split('/').nth(1).unwrap_or("") } else { &reply.region };
            format!("The request is signed for a region or service that is not the store's: set region to '{region}'.")
        }
        Part::Hash => {
            "The canonical requests differ, and the store does not say where: look for a header, the path or \
                       the query that changed on the way, Host first."
                .into()
        }
        Part::AccessKey => {
            "The store saw another access key: the reply belongs to another request, or a proxy signs requests itself."
                .into()
        }
    }
}

fn without_difference(request: &Request, reply: &Reply) -> String {
    let other_reply =
        !reply.signature.is_empty() && !request.signature.is_empty() && reply.signature != request.signature;
    match reply.code.as_str() {
        _ if reply.foreign => {
            "The reply is not from S3: a proxy or another server answered. Check the endpoint.".into()
        }
        "" => "There is no error reply to compare with.".into(),
        _ if other_reply => {
            "The store was given another signature than the request has: the reply belongs to another request, or the \
             Authorization header was rewritten on the way."
                .into()
        }
        "SignatureDoesNotMatch" if reply.canonical.is_empty() && reply.string_to_sign.is_empty() => {
            "The store does not say what it saw. Either secret_key is wrong (the usual case), or something on the way \
             changed Host, a signed header, the path or the query: send the request to the store without a proxy to \
             find out which."
                .into()
        }
        "SignatureDoesNotMatch" => {
            "The store saw exactly what was signed, so the secret key is wrong: check secret_key, and that it belongs \
             to this access key. Spaces and line ends that were copied with it count."
                .into()
        }
        "InvalidAccessKeyId" => {
            "The store does not know the access key: check access_key, and that it belongs to this store.".into()
        }
        "ExpiredToken" | "InvalidToken" => {
            "The session token has expired or is invalid: get new temporary credentials.".into()
        }
        "RequestTimeTooSkewed" => "The clocks differ too much: set this machine's clock (NTP).".into(),
        "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" => {
            format!("The store does not accept the signature's scope or fields: {}", reply.message)
        }
        _ => "The error is not about what was signed: see the store's message.".into(),
    }
}

fn path(ours: &str, store: &str) -> String {
    let decoded = |text: &str| uri::decode(&text.replace('+', "%2B")).unwrap_or_else(|| text.to_owned());
    let normal = |text: &str| {
        text.split('/').filter(|segment| !matches!(*segment, "" | ".")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (a, b) = (decoded(ours), decoded(store));
    if a == b {
        return "The path is the same in another encoding: a proxy decoded it and encoded it differently. Have it pass the URI \
                as it came (nginx: proxy_pass without a URI; Apache: nocanon)."
            .into();
    }
    if b == ours || a == store {
        return "The path was encoded once too often or too little: the client or a proxy encoded '%' again. S3's paths \
                are encoded once."
            .into();
    }
    if normal(&a) == normal(&b) {
        return "The path was normalised: '//' or '/./' became '/'. S3's keys keep them; have the proxy leave the path \
                alone (nginx: merge_slashes off), or use keys without them."
            .into();
    }
    if !b.is_empty() && (a.ends_with(&b) || b.ends_with(&a)) {
        return "A part at the start of the path was added or removed: a proxy maps paths (the path of api_url is signed, so it \
                must reach the store), or one side takes the bucket from the host name (path_style)."
            .into();
    }
    "The path was rewritten on the way: a proxy maps paths, or the reply belongs to another request.".into()
}

fn query(name: &str, ours: &str, store: &str) -> String {
    let has = |query: &str| query.split('&').any(|p| p.split('=').next() == Some(name));
    match (has(ours), has(store)) {
        (true, false) => format!("Parameter {name} did not arrive: a proxy dropped it."),
        (false, true) => format!("Parameter {name} was added after the request was signed."),
        _ if uri::decode(ours) == uri::decode(store) => {
            format!("Parameter {name} has the same value in another encoding: a proxy encoded it again.")
        }
        _ => format!("Parameter {name} has another value: something on the way rewrote it."),
    }
}

fn header(d: &Difference) -> String {
    let name = &d.name;
    if name == "host" {
        return "Host was changed on the way: have the proxy preserve it (nginx: proxy_set_header Host $http_host; \
                Apache: ProxyPreserveHost On), or sign for the host that the store sees."
            .into();
    }
    let what = match (d.ours.is_empty(), d.store.is_empty()) {
        (false, true) => "did not arrive: something on the way dropped it",
        (true, false) => "was added to the signed headers on the way",
        _ => "was rewritten on the way",
    };
    let help = if HOPPING.contains(&name.as_str()) {
        "Proxies may change this header: do not sign it."
    } else {
        "Find the proxy or the client library that did it, or do not sign this header."
    };
    format!("Header {name} {what}. {help}")
}

fn skew(request: &str, server: &str) -> String {
    let ms = |text: &str| match text.as_bytes() {
        // 20130524T000000Z
        [.., b'Z'] if text.len() == 16 && text.is_ascii() => {
            let (day, time) = (&text[..8], &text[9..15]);
            let cut =
                [&day[..4], "-", &day[4..6], "-", &day[6..], "T", &time[..2], ":", &time[2..4], ":", &time[4..], "Z"];
            parse_rfc3339(&cut.concat())
        }
        _ => parse_rfc3339(text),
    };
    let Some((request, server)) = ms(request).zip(ms(server)) else {
        return "The clocks differ too much: set this machine's clock (NTP).".into();
    };
    let seconds = request.abs_diff(server) / 1000;
    let way = if request < server { "behind" } else { "ahead of" };
    format!(
        "The request's date is {seconds} seconds {way} the store's clock: set this machine's clock (NTP), or send the \
         request sooner after it is signed."
    )
}
