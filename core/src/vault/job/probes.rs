//! Objects that tried whether the store encrypts (`put/preflight.rs`) and stayed: their put was killed, or the store did not
//! delete them. A sweep of a vault with SSE-C deletes them after its grace, with one LIST.

use crate::error::Result;
use crate::op::{
    Context, DeleteObject, DeleteObjectVersion, DeleteReply, ListObjectVersions, ListObjectsV2, Listing, Operation,
    Paged, Step, Steps, VersionListing,
};
use crate::vault::objects::PROBES;

/// How many are deleted at the same time.
const WIDTH: usize = 8;

/// The deletion of the objects that are older than this, in Unix milliseconds of the store.
pub(super) struct Probes {
    before_ms: i64,
}

impl Steps for Probes {
    type Done = ();
    const WHAT: &'static str = "deleting objects that tried the store";
}

impl Probes {
    pub(super) fn start(has_versions: bool, before_ms: i64) -> (Probes, Step<Probes>) {
        let prefix = PROBES.to_owned();
        let first = match has_versions {
            true => Step::call(ListObjectVersions { prefix, ..Default::default() }, Probes::versions),
            false => Step::call(ListObjectsV2 { prefix, ..Default::default() }, Probes::objects),
        };
        (Probes { before_ms }, first)
    }

    fn versions(&mut self, list: &ListObjectVersions, page: VersionListing) -> Step<Probes> {
        let next = list.next(&page);
        let old = page.versions.into_iter().filter(|version| self.is_old(version.last_modified_ms));
        let delete = |(key, version_id)| DeleteObjectVersion { key, version_id, bypass_governance: false };
        let deletes: Vec<_> = old.map(|version| delete((version.key, version.version_id))).collect();
        Probes::delete(deletes, move || next.map(|next| Step::call(next, Probes::versions)))
    }

    fn objects(&mut self, list: &ListObjectsV2, page: Listing) -> Step<Probes> {
        let next = list.next(&page);
        let old = page.objects.into_iter().filter(|object| self.is_old(object.last_modified_ms));
        let deletes: Vec<_> = old.map(|object| DeleteObject { key: object.key }).collect();
        Probes::delete(deletes, move || next.map(|next| Step::call(next, Probes::objects)))
    }

    fn is_old(&self, modified_ms: Option<i64>) -> bool {
        modified_ms.is_some_and(|at| at < self.before_ms)
    }

    fn delete<O>(deletes: Vec<O>, next: impl FnOnce() -> Option<Step<Probes>> + Send + 'static) -> Step<Probes>
    where
        O: Operation<Reply = DeleteReply> + Send + 'static,
    {
        Step::each(deletes, WIDTH, Probes::deleted, move |_, _| next().unwrap_or_else(|| Step::done(Ok(()))))
    }

    /// One that is locked is deleted by a later sweep.
    fn deleted<O>(&mut self, _: &mut Context<'_>, _: &O, answer: Result<DeleteReply>) -> Result<()> {
        match answer {
            Err(e) if e.status() != 0 => Ok(()),
            answer => answer.map(drop),
        }
    }
}
