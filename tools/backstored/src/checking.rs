//! Checking a vault, and saying in words what was found. `backstored check` does it, or has a running server do it.

use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

use backstore_vault::registry::Registry;
use backstore_vault::{AccountNumber, AffectedSnapshot, Finding, Vault, VaultError};
use serde::{Deserialize, Serialize};

/// What a check found, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckLine {
    /// Packs read.
    pub packs: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// It was to repair.
    pub repair: bool,
    /// Why the index was made anew when the vault was opened, if it was.
    pub index_rebuilt: Option<String>,
    /// What is wrong: the first ones.
    pub findings: Vec<FindingLine>,
    /// Everything that is wrong.
    pub findings_count: u64,
    /// Objects of which no good record is left, until they are backed up again.
    pub damaged_objects: u64,
    /// Snapshots that need something damaged or lost: the first ones.
    pub affected: Vec<AffectedLine>,
    /// All of them.
    pub affected_count: u64,
    /// Copies of damaged bytes that were made.
    pub quarantined: Vec<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingLine {
    /// What, in words.
    pub problem: String,
    /// The pack's file.
    pub pack: Option<String>,
    /// Where in it.
    pub offset: Option<u64>,
    /// Whose.
    pub account: Option<String>,
    /// Which object.
    pub object: Option<String>,
    /// It was repaired as far as that is possible here.
    pub repaired: bool,
}

/// A snapshot that needs something damaged or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AffectedLine {
    /// Whose.
    pub account: String,
    /// In which lineage.
    pub lineage: String,
    /// Its place there.
    pub sequence: u64,
    /// Its id.
    pub snapshot: String,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes to be read in all.
    pub bytes_total: u64,
}

/// Checks an open vault; `progress` may break, and then it ends with an error.
pub fn check(
    vault: &Vault,
    now_ms: i64,
    repair: bool,
    mut progress: impl FnMut(Step) -> ControlFlow<()>,
) -> Result<CheckLine, VaultError> {
    let report =
        vault.check(|done| progress(Step { bytes: done.bytes, bytes_total: done.bytes_total }), repair)?;
    let names = Names::of(vault, now_ms);
    Ok(CheckLine {
        packs: report.packs,
        records: report.records,
        bytes: report.bytes,
        repair,
        index_rebuilt: vault.report().index_rebuilt.clone(),
        findings: report.findings.iter().map(|finding| names.finding(finding)).collect(),
        findings_count: report.findings_count,
        damaged_objects: report.damaged_objects,
        affected: report.affected.iter().map(|snapshot| names.affected(snapshot)).collect(),
        affected_count: report.affected_count,
        quarantined: report.quarantined.iter().map(|copy| copy.path.display().to_string()).collect(),
    })
}

/// Snapshots that are known to be incomplete.
pub fn affected(vault: &Vault, now_ms: i64) -> Result<Vec<AffectedLine>, VaultError> {
    let names = Names::of(vault, now_ms);
    Ok(vault.affected()?.iter().map(|snapshot| names.affected(snapshot)).collect())
}

/// Names of accounts.
struct Names(HashMap<AccountNumber, String>);

impl Names {
    /// A registry that cannot be read leaves numbers: what was found is told all the same.
    fn of(vault: &Vault, now_ms: i64) -> Self {
        let accounts = Registry::new(vault).accounts(now_ms).unwrap_or_default();
        Self(accounts.into_iter().map(|info| (info.number, info.name)).collect())
    }

    fn name(&self, account: AccountNumber) -> String {
        self.0.get(&account).cloned().unwrap_or_else(|| match account.get() {
            0 => "the server".to_owned(),
            number => format!("account {number}"),
        })
    }

    fn finding(&self, finding: &Finding) -> FindingLine {
        let object = finding.object.filter(|id| id.as_bytes() != &[0; 32]);
        FindingLine {
            problem: finding.problem.to_string(),
            pack: finding.pack.clone(),
            offset: finding.offset,
            account: finding.account.map(|account| self.name(account)),
            object: object.map(|id| id.to_string()),
            repaired: finding.is_repaired,
        }
    }

    fn affected(&self, snapshot: &AffectedSnapshot) -> AffectedLine {
        AffectedLine {
            account: self.name(snapshot.account),
            lineage: snapshot.lineage.to_string(),
            sequence: snapshot.sequence,
            snapshot: snapshot.id.to_string(),
        }
    }
}

impl CheckLine {
    /// Nothing is wrong, and nothing was before a repair.
    pub fn is_healthy(&self) -> bool {
        self.findings_count == 0
    }

    fn write_repair(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repaired = self.findings.iter().filter(|finding| finding.repaired).count();
        if !self.repair {
            return writeln!(
                f,
                "Nothing was changed. `backstored check --repair` mends copies, tables and the index."
            );
        }
        writeln!(f, "{repaired} of the problems listed were repaired as far as that is possible here.")?;
        match self.quarantined.len() {
            0 => Ok(()),
            count => writeln!(f, "Damaged bytes were copied to `quarantine`: {count} copies."),
        }
    }
}

impl fmt::Display for CheckLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.index_rebuilt {
            writeln!(f, "The index was made anew when the vault was opened: {reason}.")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        write_left_out(f, self.findings_count, self.findings.len())?;
        write_affected(f, &self.affected, self.affected_count)?;
        let read = format!("{} packs, {} records, {}", self.packs, self.records, Bytes(self.bytes));
        if self.is_healthy() {
            return writeln!(f, "No damage: {read} read.");
        }
        writeln!(f, "{} problems: {read} read.", self.findings_count)?;
        self.write_repair(f)?;
        match (self.damaged_objects, self.repair) {
            (0, _) => Ok(()),
            (count, true) => writeln!(
                f,
                "{count} objects are marked as damaged: the next backups send them again if the devices still have their content."
            ),
            (count, false) => writeln!(
                f,
                "{count} objects are damaged. Repair marks them, so that the next backups send them again if the devices still have their content."
            ),
        }
    }
}

/// Says which snapshots are incomplete.
pub(crate) fn write_affected(f: &mut dyn fmt::Write, affected: &[AffectedLine], count: u64) -> fmt::Result {
    if count > 0 {
        writeln!(f, "{count} snapshots need something that is damaged or lost:")?;
    }
    affected.iter().try_for_each(|snapshot| writeln!(f, "  {snapshot}"))?;
    write_left_out(f, count, affected.len())
}

fn write_left_out(f: &mut dyn fmt::Write, count: u64, listed: usize) -> fmt::Result {
    match count.saturating_sub(listed as u64) {
        0 => Ok(()),
        more => writeln!(f, "… and {more} more"),
    }
}

impl fmt::Display for FindingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(pack) = &self.pack {
            write!(f, "packs/{pack}")?;
            separator = ": ";
        }
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        if let Some(account) = &self.account {
            write!(f, "{separator}{account}")?;
            separator = ": ";
        }
        if let Some(object) = &self.object {
            write!(f, "{separator}object {object}")?;
            separator = ": ";
        }
        write!(f, "{separator}{}", self.problem)?;
        if self.repaired { f.write_str(" (repaired)") } else { Ok(()) }
    }
}

impl fmt::Display for AffectedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, lineage, sequence, snapshot } = self;
        write!(f, "{account}: snapshot {sequence} of lineage {lineage} ({snapshot})")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (u128::from(self.bytes) * 100).checked_div(u128::from(self.bytes_total)).unwrap_or(100);
        write!(f, "checking: {} of {} ({percent} %)", Bytes(self.bytes), Bytes(self.bytes_total))
    }
}

/// A number of bytes, for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}
