//! The catalogue row: its bytes are built once, and sent under the check that the data was signed with until the row is
//! stored.

use bytes::Bytes;

use super::check::Purpose;
use super::{Put, State};
use crate::error::{Code, Error, Result};
use crate::machine::Event;
use crate::mutation::{Mutation, is_active};
use crate::op::{Call, PutObject, PutReply};
use crate::time::Now;
use crate::transfer::checkpoint::Record;
use crate::vault::Found;
use crate::vault::manifest::{self, Manifest, Times};
use crate::vault::objects::{Kind, RowKey};

/// The row in its final bytes.
pub(super) struct BuiltRow {
    pub(super) manifest: Manifest,
    pub(super) object: Bytes,
}

impl Put {
    /// All data is stored: builds the row.
    pub(super) fn build_row(&mut self, now: Now) -> State {
        // A store's clock may go back while the put runs. A version that was recorded long before the time in its id would
        // not be found by time.
        let completed = self.session.clock(now).max(self.initiated);
        let extents = std::mem::take(&mut self.extents);
        let times = Times { initiated: self.initiated, completed, stored: self.stored_ms.unwrap_or(completed) };
        let records_end = self.vault.record_after_store && !is_active(Mutation::RecordStart);
        let parent = self.request.parent.filter(|_| !is_active(Mutation::ForgetParent));
        let row = RowKey {
            vid: self.vid,
            recorded_ms: if records_end { completed } else { self.initiated },
            kind: if self.request.parent.is_some() { Kind::Inc } else { Kind::Full },
            size: self.size,
            parent,
        };
        let class = self.vault.storage_class.clone();
        let mut manifest = Manifest::new(&self.vault.id, &self.request.name, &row, times, extents, class);
        manifest.set_encryption(self.vault.encryption(), self.wrapped.clone());
        manifest.source = self.request.live.then(|| manifest::LIVE.to_owned());
        manifest.labels = self.request.labels.clone();
        manifest.lock = self.lock;
        let object = Bytes::from(manifest.to_object(self.vault.signing_key()));
        if !is_active(Mutation::SkipRowRecord) {
            self.session.save(|| Record::Row { object: String::from_utf8_lossy(&object) });
        }
        self.built_row = Some(BuiltRow { manifest, object });
        self.check = self.data_check;
        State::RowBuilt
    }

    pub(super) fn put_row_checked(&mut self, now: Now) -> State {
        if is_active(Mutation::AcknowledgeBeforeRow) {
            return self.acknowledge();
        }
        if self.is_check_valid(now, self.check) { self.put_row() } else { self.recheck(Purpose::Row) }
    }

    pub(super) fn put_row(&mut self) -> State {
        let Some(built_row) = &self.built_row else {
            return self.fail(Error::new(Code::Internal, "there is no catalogue entry to write"));
        };
        let put = self.put_own(&*built_row.manifest.key, built_row.object.clone());
        State::Row(Call::dated(put, self.check))
    }

    pub(super) fn acknowledge(&mut self) -> State {
        let Some(BuiltRow { manifest, object }) = self.built_row.take() else {
            return self.fail(Error::new(Code::Internal, "there is no catalogue entry to acknowledge"));
        };
        if self.stop_asked {
            let (container, path) = (self.request.name.container().to_owned(), self.request.name.path().to_owned());
            self.session.report(Event::StoredAnyway { container, path, vid: self.vid.to_string() });
        }
        self.vault.stored(&manifest.key);
        let signed_by = self.vault.signing_key().map(|key| key.public().id().to_owned());
        let row = manifest.row(manifest::hash(&object), signed_by);
        State::Done(Box::new(Ok(Found { row, manifest, object })))
    }

    pub(super) fn row_answer(&mut self, call: Call<PutObject>, answer: Result<PutReply>) -> State {
        match answer {
            Ok(_) => self.acknowledge(),
            Err(e) if e.is_expired() => {
                self.row_sent |= call.maybe_done();
                self.recheck(Purpose::Row)
            }
            Err(e) if call.maybe_done() && !is_active(Mutation::ReportUnknownAsFailed) => {
                State::Unknown(call, Some(row_unknown(e)))
            }
            Err(e) => self.fail(e),
        }
    }
}

pub(super) fn row_unknown(why: Error) -> Error {
    why.recode(Code::OutcomeUnknown).context("the data is stored, but its catalogue entry may or may not be")
}
