//! DeleteObject and DeleteObjects.

use std::time::SystemTime;

use super::xml::{Document, malformed, texts};
use super::{Reply, Request};
use crate::{Payload, Refusal, Store};

impl<C: Payload> Store<C> {
    pub(super) fn answer_delete(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        let (id, bypass) = (request.parameter("versionId"), request.bypasses_governance());
        let deleted = self.delete(&request.bucket, &request.key, id, bypass, now)?;
        let reply = Reply::empty(204).with_version(deleted.version);
        Ok(if deleted.marker { reply.with("x-amz-delete-marker", "true") } else { reply })
    }

    pub(super) fn answer_delete_many(&mut self, request: &Request<C>, now: SystemTime) -> Result<Reply<C>, Refusal> {
        if !request.has_digest() {
            return Err(Refusal::invalid_request("Missing required header for this request: Content-MD5"));
        }
        let received = self.receive(request)?;
        let Batch { objects, is_quiet } = Batch::read(received.content.bytes().unwrap_or_default())?;
        let named = objects.iter().map(|(key, id)| (key.as_str(), id.as_deref()));
        let results = self.delete_many(&request.bucket, named, request.bypasses_governance(), now)?;
        let mut xml = Document::new();
        xml.element("DeleteResult", |xml| {
            for ((key, id), result) in objects.iter().zip(results) {
                if is_quiet && result.is_ok() {
                    continue;
                }
                xml.element(if result.is_ok() { "Deleted" } else { "Error" }, |xml| {
                    xml.text("Key", key);
                    if let Some(id) = id {
                        xml.text("VersionId", id);
                    }
                    match result {
                        Ok(deleted) if deleted.marker => {
                            xml.text("DeleteMarker", true);
                            xml.text("DeleteMarkerVersionId", deleted.version.unwrap_or_default());
                        }
                        Ok(_) => {}
                        Err(refusal) => {
                            xml.text("Code", refusal.code);
                            xml.text("Message", refusal.message);
                        }
                    }
                });
            }
        });
        Ok(Reply::xml(xml.finish()))
    }
}

/// What a DeleteObjects names.
struct Batch {
    objects: Vec<(String, Option<String>)>,
    is_quiet: bool,
}

impl Batch {
    fn read(document: &[u8]) -> Result<Self, Refusal> {
        let mut batch = Self { objects: Vec::new(), is_quiet: false };
        let (mut key, mut id) = (None, None);
        for (path, text) in texts(document).ok_or_else(malformed)? {
            match path.as_str() {
                "Delete/Quiet" => batch.is_quiet = text == "true",
                "Delete/Object/Key" => key = Some(text),
                "Delete/Object/VersionId" => id = Some(text).filter(|id| !id.is_empty()),
                "Delete/Object" => batch.objects.push((key.take().ok_or_else(malformed)?, id.take())),
                "Delete" => {}
                _ => return Err(malformed()),
            }
        }
        Ok(batch)
    }
}
