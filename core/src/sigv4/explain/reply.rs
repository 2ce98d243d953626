//! The store's reply: what it says of the signature.

use crate::xml::{self, Item};

/// What a refusal holds; empty what it does not.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) canonical: String,
    pub(super) string_to_sign: String,
    pub(super) signature: String,
    pub(super) access_key: String,
    /// The region that the store wants.
    pub(super) region: String,
    pub(super) request_time: String,
    pub(super) server_time: String,
    /// The payload's hash as the store computed it.
    pub(super) payload: String,
    /// Whether something was there that is not S3's.
    pub(super) foreign: bool,
    pub(super) notes: Vec<String>,
}

impl Reply {
    /// From a body, with or without the head before it. What is no refusal of S3 is told in the notes.
    pub(super) fn parse(text: &str) -> Reply {
        let mut reply = Reply::default();
        let body = text.find('<').map_or("", |at| &text[at..]).trim_end();
        if body.is_empty() {
            if !text.trim().is_empty() {
                reply.foreign = true;
                reply.notes.push("the reply has no XML in it".to_owned());
            }
            return reply;
        }
        let read = xml::read(body.as_bytes(), "Error", |item| {
            if let Item::Value(_, name, value) = item {
                reply.take(name, value);
            }
            Ok(())
        });
        if let Err(e) = read {
            reply.foreign = reply.code.is_empty();
            reply.notes.push(e.message().to_owned());
        }
        reply
    }

    fn take(&mut self, name: &str, value: &str) {
        let place = match name {
            "Code" => &mut self.code,
            "Message" => &mut self.message,
            "CanonicalRequest" => &mut self.canonical,
            "StringToSign" => &mut self.string_to_sign,
            "SignatureProvided" => &mut self.signature,
            "AWSAccessKeyId" => &mut self.access_key,
            "Region" => &mut self.region,
            "RequestTime" => &mut self.request_time,
            "ServerTime" => &mut self.server_time,
            "S3ComputedContentSHA256" => &mut self.payload,
            _ => return,
        };
        // Texts that were pasted may have Windows' line ends.
        *place = value.replace('\r', "").trim_matches('\n').to_owned();
    }
}
