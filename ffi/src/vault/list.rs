//! Listings, page by page.

use std::collections::VecDeque;

use s3vault_core::Result;
use s3vault_core::vault::{Cursor, ListPage, Row, Scope};

use super::Vault;
use crate::control::Control;
use crate::{driver, entropy};

/// A listing. It holds one page at a time.
pub struct List {
    vault: Vault,
    scope: Scope,
    rows: VecDeque<Row>,
    /// Returns the next row; `None` at the end. After an error, call it again to continue.
    next: Option<Cursor>,
}

impl List {
    pub(super) fn new(vault: &Vault, scope: Scope) -> Result<List> {
        scope.check()?;
        Ok(List { vault: vault.clone(), scope, rows: VecDeque::new(), next: Some(Cursor::default()) })
    }

    /// Returns the next row; `None` at the end. After an error, call it again to continue.
    pub fn next(&mut self, control: &mut Control<'_>) -> Result<Option<Row>> {
        control.check_cancel()?;
        control.one_call(|control| {
            while self.rows.is_empty() {
                let Some(cursor) = &self.next else { return Ok(None) };
                let (vault, scope) = (self.vault.0.vault.clone(), self.scope.clone());
                let page = ListPage::new(vault, scope, cursor.clone(), entropy::seed()?);
                let (rows, next) = driver::run(&self.vault.0.client.host, page, control)?;
                self.rows = rows.into();
                self.next = next;
            }
            Ok(self.rows.pop_front())
        })
    }
}
