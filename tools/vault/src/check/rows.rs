//! Every row of the index: does it name a record that is there?

use std::collections::HashMap;
use std::ops::ControlFlow;

use backstore_protocol::ids::ObjectId;

use super::{Check, Finding, Problem};
use crate::error::VaultError;
use crate::ids::{AccountNumber, PackNumber, Place};
use crate::index::rows::{self, ObjectRow};
use crate::pack::record::RecordKind;

type NamedRow = (AccountNumber, ObjectId, ObjectRow);

impl Check<'_> {
    pub(super) fn index_rows(&mut self) -> Result<(), VaultError> {
        let mut named: HashMap<PackNumber, u64> = HashMap::new();
        for kind in [rows::OBJECTS, rows::COPIES] {
            self.each_row(kind, |check, (_, _, row)| {
                let is_checked = |end| row.place.end() <= end;
                if !row.is_damaged
                    && check.checked.get(&row.place.pack).is_some_and(|pack| is_checked(pack.end))
                {
                    *named.entry(row.place.pack).or_default() += 1;
                }
                Ok(())
            })?;
        }
        // As many rows as good records they name: then each row names one.
        let differs = |check: &Self, number: &PackNumber| {
            let good = check.checked.get(number).map_or(0, |pack| pack.named);
            named.get(number).copied().unwrap_or(0) != good
        };
        let suspect: Vec<PackNumber> =
            self.checked.keys().copied().filter(|number| differs(self, number)).collect();
        let unknown = self.unknown_packs()?;
        if !suspect.is_empty() || unknown {
            for kind in [rows::COPIES, rows::OBJECTS] {
                self.each_row(kind, |check, row| check.verify_row(&suspect, &row))?;
            }
        }
        self.known_damage()
    }

    /// Whether rows name packs that were not checked because there are none.
    fn unknown_packs(&mut self) -> Result<bool, VaultError> {
        let mut unknown = false;
        for kind in [rows::OBJECTS, rows::COPIES] {
            self.each_row(kind, |check, (_, _, row)| {
                unknown |= !row.is_damaged && !check.rows.contains_key(&row.place.pack);
                Ok(())
            })?;
        }
        Ok(unknown)
    }

    /// Hands rows over in groups, so that they may be changed.
    fn each_row(
        &mut self,
        kind: u8,
        mut each: impl FnMut(&mut Self, NamedRow) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        let mut from = vec![kind];
        loop {
            let mut group: Vec<NamedRow> = Vec::new();
            self.core.index.scan_rows(
                &[kind],
                &from,
                |key, value| {
                    let (account, id) = rows::split_account_key(key)?;
                    Some((account, ObjectId::from_slice(id)?, ObjectRow::decode(value)?))
                },
                |row| {
                    group.push(row);
                    if group.len() < ROWS_AT_ONCE {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                },
            )?;
            let Some((account, id, _)) = group.last() else { return Ok(()) };
            from = rows::account_prefix(kind, *account);
            from.extend(id.as_bytes());
            from.push(0);
            for row in group {
                each(self, row)?;
            }
        }
    }

    /// Whether the record a row names is there; its content was looked at before.
    fn verify_row(
        &mut self,
        suspect: &[PackNumber],
        (account, id, row): &NamedRow,
    ) -> Result<(), VaultError> {
        let is_known = self.rows.contains_key(&row.place.pack);
        if row.is_damaged || (is_known && !suspect.contains(&row.place.pack)) {
            return Ok(());
        }
        if self.is_there(*account, id, &row.place)? {
            return Ok(());
        }
        self.lose(*account, id, row, Problem::RowWrong)
    }

    fn is_there(&self, account: AccountNumber, id: &ObjectId, place: &Place) -> Result<bool, VaultError> {
        let overlaps = |(offset, length): &(u64, u64)| {
            *offset < place.end() && u64::from(place.offset) < offset + length
        };
        if self.checked.get(&place.pack).is_some_and(|pack| pack.bad.iter().any(overlaps)) {
            return Ok(false);
        }
        let Some(pack) = self.core.packs.get(place.pack)? else { return Ok(false) };
        let header = pack.header(u64::from(place.offset));
        let header =
            header.map_err(|error| VaultError::disk("read", self.core.packs.path(pack.id), error))?;
        Ok(header.is_ok_and(|header| {
            matches!(header.kind, RecordKind::Object(_)) && header.account == account && header.id == *id
        }))
    }

    /// What is damaged and was not healed.
    pub(super) fn known_damage(&mut self) -> Result<(), VaultError> {
        let mut from = vec![rows::DAMAGE];
        loop {
            let mut group: Vec<(AccountNumber, ObjectId)> = Vec::new();
            self.core.index.scan_rows(
                &[rows::DAMAGE],
                &from,
                |key, _| {
                    let (account, id) = rows::split_account_key(key)?;
                    Some((account, ObjectId::from_slice(id)?))
                },
                |key| {
                    group.push(key);
                    if group.len() < ROWS_AT_ONCE {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                },
            )?;
            let Some((account, id)) = group.last() else { return Ok(()) };
            from = rows::damage_key(*account, id);
            from.push(0);
            for (account, id) in group {
                self.known_damaged(account, id)?;
            }
        }
    }

    fn known_damaged(&mut self, account: AccountNumber, id: ObjectId) -> Result<(), VaultError> {
        if !self.add_damaged(account, &id) {
            return Ok(());
        }
        let place = self.core.index.object(account, &id)?.map(|row| row.place);
        self.report.add(Finding {
            pack: place.and_then(|place| self.pack_name(place.pack)),
            offset: place.map(|place| u64::from(place.offset)),
            account: Some(account),
            object: Some(id),
            problem: Problem::Object,
            is_repaired: false,
        });
        Ok(())
    }
}

const ROWS_AT_ONCE: usize = 16_384;
