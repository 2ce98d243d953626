//! The store's reply: its information about the signature.

use crate::xml::{self, Item};

/// The fields of an error reply; empty if it does not have them.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) canonical: String,
    pub(super) string_to_sign: String,
    pub(super) signature: String,
    pub(super) access_key: String,
    /// The region that the store names.
    pub(super) region: String,
    pub(super) request_time: String,
    pub(super) server_time: String,
    /// The payload's hash as the store computed it.
    pub(super) payload: String,
    /// Whether the reply is not from S3.
    pub(super) foreign: bool,
    pub(super) notes: Vec<String>,
}

impl Reply {
    /// Parses a body, with or without the head before it. If it is not an error reply of S3, the notes say so.
    pub(super) fn parse(text: &str) -> Reply {
        let mut reply = Reply::default();
        let body = text.find('<').map_or("", |at| &text[at..]).trim_end();
        if body.is_empty() {
            if !text.trim().is_empty() {
                reply.foreign = true;
                reply.notes.push("the reply contains no XML".to_owned());
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
        // A text that was pasted may have Windows line endings.
        *place = value.replace('\r', "").trim_matches('\n').to_owned();
    }
}
