//! Listing the multipart uploads at data keys of a vault that are in progress, or were left by a program that was killed.
//!
//! A data key is read from its locator and never parsed, except here, to show which backup an upload is for, and to look
//! there first: what it shows justifies nothing.

use std::sync::Arc;

use super::names::{Name, OWN_FOLDER};
use super::walk::{Walk, Walking};
use super::{Row, Vault, Vid};
use crate::error::{Code, Result};
use crate::op::{ListMultipartUploads, ListedUpload, Paged, Sequence, Step, Steps, UploadListing};

/// Where the next page starts.
#[derive(Clone, Debug, Default)]
pub struct UploadCursor {
    /// The bucket, if all of them are listed one after the other.
    walk: Option<Walk>,
    /// The page to request; `None`: the first page.
    list: Option<ListMultipartUploads>,
}

/// The machine that lists a page of uploads. The listing ends with the page that has no cursor; an empty page is not the
/// end.
pub type UploadsPage = Sequence<UploadsSteps>;

/// What [`UploadsPage`] knows on its way.
pub struct UploadsSteps {
    vault: Arc<Vault>,
    cursor: UploadCursor,
}

impl Steps for UploadsSteps {
    type Done = (Vec<Row>, Option<UploadCursor>);
    const WHAT: &'static str = "the listing of uploads";
    const IS_QUERY: bool = true;
}

impl Walking for UploadsSteps {
    fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    fn walk(&mut self) -> Option<&mut Walk> {
        self.cursor.walk.as_mut()
    }

    fn enter(&mut self, _: String) -> Step<Self> {
        self.list()
    }

    fn rest(&mut self) -> Step<Self> {
        let walk = self.cursor.walk.take().and_then(Walk::or_end);
        Step::done(Ok((Vec::new(), walk.map(|walk| UploadCursor { walk: Some(walk), list: None }))))
    }
}

impl UploadsPage {
    /// Lists the page at `cursor`; the default cursor is the first page. `seed` drives the jitter of retries.
    pub fn new(vault: Arc<Vault>, mut cursor: UploadCursor, seed: u64) -> UploadsPage {
        cursor.walk = cursor.walk.take().or_else(|| Walk::of(&vault));
        let bucket = cursor.walk.as_ref().map_or_else(|| vault.home().clone(), |walk| walk.bucket(&vault));
        let steps = UploadsSteps { vault, cursor };
        let first = steps.cursor.walk.as_ref().map_or_else(|| steps.list(), Walk::start);
        Sequence::start(&bucket, steps, first, seed)
    }
}

impl UploadsSteps {
    fn list(&self) -> Step<Self> {
        Step::try_call(self.cursor.list.clone().unwrap_or_default(), Self::page)
    }

    fn page(&mut self, asked: &ListMultipartUploads, page: Result<UploadListing>) -> Step<Self> {
        let page = match page {
            Ok(page) => page,
            // The bucket was removed after the list of buckets.
            Err(e) if e.code() == Code::NoSuchBucket && self.cursor.walk.is_some() => UploadListing::default(),
            Err(e) => return Step::done(Err(e)),
        };
        let next = match asked.next(&page) {
            Some(list) => Some(UploadCursor { list: Some(list), walk: self.cursor.walk.take() }),
            None => {
                let walk = self.cursor.walk.take().and_then(Walk::next);
                walk.map(|walk| UploadCursor { walk: Some(walk), list: None })
            }
        };
        let leading_slash = self.vault.layout.has_leading_slash();
        let rows = page.uploads.into_iter().filter_map(|upload| row(upload, leading_slash)).collect();
        Step::done(Ok((rows, next)))
    }
}

/// The upload as a row; `None` if its key has not the form of a data key.
fn row(upload: ListedUpload, leading_slash: bool) -> Option<Row> {
    let ListedUpload { key, upload_id, initiated_ms, .. } = upload;
    let (name, vid) = backup_of(&key, leading_slash)?;
    Some(Row {
        kind: None,
        container: name.container().to_owned(),
        path: name.path().to_owned(),
        vid: vid.map(|vid| vid.to_string()).unwrap_or_default(),
        parent: None,
        initiated_ms: initiated_ms.unwrap_or(0),
        recorded_ms: 0,
        bytes: 0,
        manifest_hash: None,
        signed_by: None,
        labels: None,
        upload_id: Some(upload_id),
    })
}

/// The backup that a data key is for, and the version if the key names one; `None` if it has not the form of a data key.
pub(super) fn backup_of(key: &str, leading_slash: bool) -> Option<(Name, Option<Vid>)> {
    let key = if leading_slash { key.strip_prefix('/')? } else { key };
    let (container, rest) = key.split_once('/')?;
    let (path, vid) = split_vid(rest);
    let name = Name::new(container, path).ok().filter(|name| name.container() != OWN_FOLDER)?;
    Some((name, vid))
}

/// Splits `path@VID` and `path@VID.N`.
fn split_vid(rest: &str) -> (&str, Option<Vid>) {
    let parsed = rest.rsplit_once('@').and_then(|(path, own)| {
        let (vid, number) = own.split_once('.').unwrap_or((own, "2"));
        let is_number = !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
        Vid::try_parse(vid).filter(|_| is_number).map(|vid| (path, Some(vid)))
    });
    parsed.unwrap_or((rest, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn an_upload_shows_the_backup_and_the_version_that_its_key_names() {
        let vid = Vid::new(1_764_000_000_000, [5; 10]);
        let shown = |key: String, leading_slash| {
            let upload = ListedUpload { key, upload_id: "u".into(), ..Default::default() };
            row(upload, leading_slash).map(|row| (row.container, row.path, row.vid))
        };
        let is = |path: &str, vid: &str| Some(("vm".to_owned(), path.to_owned(), vid.to_owned()));
        assert_eq!(shown("vm/a/b".into(), false), is("a/b", ""));
        assert_eq!(shown("/vm/a".into(), true), is("a", ""));
        assert_eq!(shown(format!("vm/a@{vid}"), false), is("a", &vid.to_string()));
        assert_eq!(shown(format!("vm/a@{vid}.12"), false), is("a", &vid.to_string()));
        assert_eq!(shown(format!("vm/a@{vid}.x"), false), is(&format!("a@{vid}.x"), ""));
        for other in ["vm", "vm/", "/vm/a", "_s3vault/1/cat/x", "vm/../x"] {
            assert_eq!(shown(other.into(), false), None, "{other}");
        }
        assert_eq!(shown("vm/a".into(), true), None);
    }
}
