//! Listings, page by page.

use std::collections::VecDeque;

use s3vault_core::Result;
use s3vault_core::vault::{Cursor, ListPage, Query, Row, UploadCursor, UploadsPage};

use super::Vault;
use crate::control::Control;
use crate::{driver, entropy};

/// A listing. It holds one page at a time.
pub struct List {
    vault: Vault,
    rows: VecDeque<Row>,
    /// What follows the rows.
    rest: Rest,
}

/// The pages that were not read yet.
enum Rest {
    /// There are none.
    Nothing,
    Versions(Box<(Query, Cursor)>),
    Uploads(Box<UploadCursor>),
}

impl List {
    pub(super) fn new(vault: &Vault, query: Query) -> Result<List> {
        query.check()?;
        Ok(List {
            vault: vault.clone(),
            rows: VecDeque::new(),
            rest: Rest::Versions(Box::new((query, Cursor::default()))),
        })
    }

    pub(super) fn of_uploads(vault: &Vault) -> List {
        List { vault: vault.clone(), rows: VecDeque::new(), rest: Rest::Uploads(Box::default()) }
    }

    /// A listing of these rows.
    pub(super) fn of_rows(vault: &Vault, rows: Vec<Row>) -> List {
        List { vault: vault.clone(), rows: rows.into(), rest: Rest::Nothing }
    }

    /// Returns the next row; `None` at the end. After an error, call it again to continue.
    pub fn next(&mut self, control: &mut Control<'_>) -> Result<Option<Row>> {
        control.check_cancel()?;
        control.one_call(|control| {
            while self.rows.is_empty() {
                let (vault, host, seed) = (self.vault.0.vault.clone(), &self.vault.0.client.host, entropy::seed()?);
                let (rows, rest) = match &self.rest {
                    Rest::Nothing => return Ok(None),
                    Rest::Versions(at) => {
                        let (query, cursor) = &**at;
                        let page = ListPage::new(vault, query.clone(), cursor.clone(), seed);
                        let (rows, next) = driver::run(host, page, control)?;
                        (rows, next.map(|next| Rest::Versions(Box::new((query.clone(), next)))))
                    }
                    Rest::Uploads(cursor) => {
                        let (rows, next) =
                            driver::run(host, UploadsPage::new(vault, (**cursor).clone(), seed), control)?;
                        (rows, next.map(|next| Rest::Uploads(Box::new(next))))
                    }
                };
                self.rows = rows.into();
                self.rest = rest.unwrap_or(Rest::Nothing);
            }
            Ok(self.rows.pop_front())
        })
    }
}
