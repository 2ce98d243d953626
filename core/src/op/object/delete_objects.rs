//! DeleteObjects: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>
//!
//! There are two operations, as for DeleteObject: with version ids and without.

use std::collections::HashSet;

use crate::error::{Code, Error, Result};
use crate::http::{Method, ReplyBody};
use crate::op::{Operation, Reply, Unsigned};
use crate::text::presentable_key;
use crate::xml::{self, Item};

/// Most keys per request.
pub(crate) const MAX_KEYS: usize = 1000;

/// Size limit of a reply, in bytes: 1,000 entries with long keys, each byte as an entity.
const REPLY_LIMIT: usize = 8 << 20;

/// Deletes up to 1,000 objects. In a bucket with versioning, each call adds a delete marker to each object, so it is not
/// retried if it may have taken effect.
#[derive(Clone, Debug)]
pub struct DeleteObjects {
    keys: Vec<String>,
    quiet: bool,
    unversioned: bool,
}

/// Permanently deletes up to 1,000 versions or delete markers.
#[derive(Clone, Debug)]
pub struct DeleteObjectVersions {
    versions: Vec<(String, String)>,
    quiet: bool,
    bypass_governance: bool,
}

/// The reply to a deletion of several objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteManyReply {
    /// The deleted objects; empty in quiet mode.
    pub deleted: Vec<Deleted>,
    /// The objects that were not deleted, and why.
    pub errors: Vec<NotDeleted>,
}

/// A deleted object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// The object's key.
    pub key: String,
    /// The version in the request.
    pub version_id: Option<String>,
    /// Version id of the delete marker that was created or deleted.
    pub delete_marker: Option<String>,
}

/// An object that was not deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotDeleted {
    /// The object's key.
    pub key: String,
    /// The version in the request.
    pub version_id: Option<String>,
    /// S3's error code, for example `AccessDenied`.
    pub code: String,
    /// The store's message.
    pub message: String,
}

impl DeleteObjects {
    /// `quiet`: the reply lists only the objects that were not deleted. Fails if there are no keys or more than 1,000, or
    /// if a key has a character that XML cannot represent; use [`DeleteObject`](crate::op::DeleteObject) for such a key.
    pub fn new(keys: Vec<String>, quiet: bool) -> Result<DeleteObjects> {
        check(keys.iter())?;
        Ok(DeleteObjects { keys, quiet, unversioned: false })
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The bucket has no versioning, so that the deletion may be repeated.
    #[must_use]
    pub fn in_unversioned_bucket(mut self) -> DeleteObjects {
        self.unversioned = true;
        self
    }
}

impl DeleteObjectVersions {
    /// `versions`: keys with their version ids. It fails like [`DeleteObjects::new`].
    pub fn new(versions: Vec<(String, String)>, quiet: bool) -> Result<DeleteObjectVersions> {
        check(versions.iter().map(|(key, _)| key))?;
        Ok(DeleteObjectVersions { versions, quiet, bypass_governance: false })
    }

    /// Keys and version ids.
    pub(crate) fn versions(&self) -> &[(String, String)] {
        &self.versions
    }

    /// Ignores locks in governance mode, which needs `s3:BypassGovernanceRetention`.
    #[must_use]
    pub fn bypassing_governance(mut self) -> DeleteObjectVersions {
        self.bypass_governance = true;
        self
    }
}

fn check<'a>(keys: impl ExactSizeIterator<Item = &'a String>) -> Result<()> {
    let count = keys.len();
    if count == 0 || count > MAX_KEYS {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("DeleteObjects accepts 1 to {MAX_KEYS} keys, not {count}"),
        ));
    }
    for key in keys {
        if !key.chars().all(xml::can_hold) {
            let why = format!("the key '{}' has a character that XML cannot represent", presentable_key(key));
            return Err(Error::new(Code::InvalidArgument, why).with_hint("Delete this object with DeleteObject."));
        }
    }
    Ok(())
}

fn request<'a>(objects: impl Iterator<Item = (&'a str, Option<&'a str>)>, quiet: bool) -> Unsigned {
    let mut inner = String::new();
    if quiet {
        inner.push_str("<Quiet>true</Quiet>");
    }
    for (key, version_id) in objects {
        inner.push_str("<Object>");
        xml::element(&mut inner, "Key", key);
        if let Some(version_id) = version_id {
            xml::element(&mut inner, "VersionId", version_id);
        }
        inner.push_str("</Object>");
    }
    // Every store accepts the MD5, but not the newer checksums.
    let mut request = Unsigned::bucket(Method::Post).query("delete", "").xml("Delete", &inner);
    request.reply = ReplyBody::Collect { limit: REPLY_LIMIT };
    request
}

fn parse<'a>(body: &[u8], keys: impl Iterator<Item = &'a str>, quiet: bool) -> Result<DeleteManyReply> {
    let mut answer = DeleteManyReply::default();
    let (mut deleted, mut error) = (Deleted::default(), NotDeleted::default());
    xml::read(body, "DeleteResult", |item| {
        match item {
            Item::Value("Deleted", "Key", text) => text.clone_into(&mut deleted.key),
            Item::Value("Deleted", "VersionId", text) => deleted.version_id = Some(text.to_owned()),
            Item::Value("Deleted", "DeleteMarkerVersionId", text) => deleted.delete_marker = Some(text.to_owned()),
            Item::End("Deleted") => answer.deleted.push(std::mem::take(&mut deleted)),
            Item::Value("Error", "Key", text) => text.clone_into(&mut error.key),
            Item::Value("Error", "VersionId", text) if !text.is_empty() => error.version_id = Some(text.to_owned()),
            Item::Value("Error", "Code", text) => text.clone_into(&mut error.code),
            Item::Value("Error", "Message", text) => text.clone_into(&mut error.message),
            Item::End("Error") => answer.errors.push(std::mem::take(&mut error)),
            _ => {}
        }
        Ok(())
    })?;
    if !quiet {
        let deleted = answer.deleted.iter().map(|found| &*found.key);
        let named: HashSet<&str> = deleted.chain(answer.errors.iter().map(|found| &*found.key)).collect();
        for key in keys {
            if !named.contains(key) {
                let why = format!("the reply does not say whether '{}' was deleted", presentable_key(key));
                return Err(Error::new(Code::BadReply, why));
            }
        }
    }
    Ok(answer)
}

impl Operation for DeleteObjects {
    type Reply = DeleteManyReply;
    const NAME: &'static str = "DeleteObjects";
    const ACTION: &'static str = "s3:DeleteObject";
    const REPEATABLE: bool = false;

    fn is_repeatable(&self) -> bool {
        self.unversioned
    }

    fn request(&self) -> Unsigned {
        request(self.keys.iter().map(|key| (&**key, None)), self.quiet)
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<DeleteManyReply> {
        parse(&reply.body, self.keys.iter().map(String::as_str), self.quiet)
    }
}

impl Operation for DeleteObjectVersions {
    type Reply = DeleteManyReply;
    const NAME: &'static str = "DeleteObjects";
    const ACTION: &'static str = "s3:DeleteObjectVersion";

    fn request(&self) -> Unsigned {
        let request = request(self.versions.iter().map(|(key, id)| (&**key, Some(&**id))), self.quiet);
        if self.bypass_governance { request.header("x-amz-bypass-governance-retention", "true") } else { request }
    }

    fn parse(&self, reply: &mut Reply<'_>) -> Result<DeleteManyReply> {
        parse(&reply.body, self.versions.iter().map(|(key, _)| &**key), self.quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::testing::{answer, refused, sent, sent_body};
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn result(inner: &str) -> String {
        format!("<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</DeleteResult>")
    }

    #[test]
    fn the_documented_example() {
        let op = DeleteObjects::new(vec!["sample1.txt".into(), "sample2.txt".into()], false).unwrap();
        assert!(sent(&op).starts_with("POST /?delete=\ncontent-md5: "));
        assert_eq!(
            sent_body(&op),
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>sample1.txt</Key></Object>\
             <Object><Key>sample2.txt</Key></Object></Delete>"
        );
        let xml = result(
            "<Deleted><Key>sample1.txt</Key></Deleted><Error><Key>sample2.txt</Key><Code>AccessDenied</Code>\
             <Message>Access Denied</Message></Error>",
        );
        let expected = DeleteManyReply {
            deleted: vec![Deleted { key: "sample1.txt".into(), ..Deleted::default() }],
            errors: vec![NotDeleted {
                key: "sample2.txt".into(),
                version_id: None,
                code: "AccessDenied".into(),
                message: "Access Denied".into(),
            }],
        };
        assert_eq!(answer(&op, &[], &xml), Ok(expected));
        assert_eq!(refused(&op, &[], &result("<Deleted><Key>sample1.txt</Key></Deleted>")), Some(Code::BadReply));
    }

    #[test]
    fn the_documented_example_with_versions() {
        let versions = vec![("SampleDocument.txt".into(), "OYcLXagmS.WaD..oyH4KRguB95_YhLs7".into())];
        let op = DeleteObjectVersions::new(versions, false).unwrap();
        assert!(sent_body(&op).contains(
            "<Object><Key>SampleDocument.txt</Key><VersionId>OYcLXagmS.WaD..oyH4KRguB95_YhLs7</VersionId></Object>"
        ));
        let xml = result(
            "<Deleted><Key>SampleDocument.txt</Key><VersionId>OYcLXagmS.WaD..oyH4KRguB95_YhLs7</VersionId>\
             <DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>OYcLXagmS.WaD..oyH4KRguB95_YhLs7</DeleteMarkerVersionId>\
             </Deleted>",
        );
        let id = || Some("OYcLXagmS.WaD..oyH4KRguB95_YhLs7".to_owned());
        let deleted = Deleted { key: "SampleDocument.txt".into(), version_id: id(), delete_marker: id() };
        assert_eq!(answer(&op, &[], &xml).unwrap().deleted, [deleted]);
        assert!(sent(&op.bypassing_governance()).contains("\nx-amz-bypass-governance-retention: true\n"));
    }

    #[test]
    fn a_key_that_xml_cannot_represent_is_refused() {
        let op = DeleteObjects::new(vec!["a\r\n<&>".into()], true).unwrap();
        assert!(
            sent_body(&op)
                .ends_with("<Quiet>true</Quiet><Object><Key>a&#13;&#10;&lt;&amp;&gt;</Key></Object></Delete>")
        );
        assert_eq!(answer(&op, &[], &result("")), Ok(DeleteManyReply::default()), "quiet");
        for bad in [vec!["a\u{1}".to_owned()], vec![], vec![String::from("a"); 1001]] {
            assert_eq!(DeleteObjects::new(bad, true).map_err(|e| e.code()).err(), Some(Code::InvalidArgument));
        }
        assert!(DeleteObjects::new(vec![String::from("a"); 1000], true).is_ok());
    }
}
