//! Every format against its fixtures: they read as expected, and are written the same.

use std::collections::BTreeSet;

use crate::fixtures::{Fixtures, WRITE};
use crate::recode::FORMATS;
use crate::{sample_account, sample_sealed, sample_snapshot, sample_tree, sample_wire};

/// Asserts that bytes read as a value.
type Check = Box<dyn Fn(&[u8])>;

/// A value of a format, its encoding, and the assertion that bytes read as that value.
pub(crate) struct Sample {
    /// Format and name, as in the index.
    pub(crate) name: String,
    /// The value as it is written now.
    pub(crate) encoded: Vec<u8>,
    /// Reads bytes and compares with the value.
    pub(crate) check: Check,
    /// Whether writing it again gives the same bytes for ever. Not so of what is compressed: another zstd may compress better.
    pub(crate) is_canonical: bool,
}

impl Sample {
    pub(crate) fn new(name: impl Into<String>, encoded: Vec<u8>, check: impl Fn(&[u8]) + 'static) -> Self {
        Self { name: name.into(), encoded, check: Box::new(check), is_canonical: true }
    }
}

fn samples() -> Vec<Sample> {
    let groups = [
        sample_tree::samples(),
        sample_sealed::samples(),
        sample_snapshot::samples(),
        sample_account::samples(),
        sample_wire::samples(),
    ];
    groups.into_iter().flatten().collect()
}

fn check(sample: &Sample, bytes: &[u8]) {
    let name = &sample.name;
    println!("{name}");
    (sample.check)(bytes);
    if !sample.is_canonical {
        return;
    }
    assert!(sample.encoded == bytes, "{name} is written in another way than before");
    let format = name.split('/').next().unwrap_or_default();
    let (_, recode) = FORMATS.into_iter().find(|(known, _)| *known == format).expect("a format");
    assert!(recode(bytes).as_deref() == Some(bytes), "{name} is refused, or read and written in another way");
}

#[test]
fn released_bytes_still_mean_the_same() {
    let mut fixtures = Fixtures::open();
    let may_write = std::env::var_os(WRITE).is_some_and(|value| value == "1");
    let listed: BTreeSet<_> = fixtures.names().map(str::to_owned).collect();
    let samples = samples();
    let mut absent = Vec::new();
    for sample in &samples {
        let name = &sample.name;
        if !listed.contains(name) && may_write {
            // What is wrong must not become a fixture.
            check(sample, &sample.encoded);
            fixtures.add(name, &sample.encoded);
        }
        match fixtures.read(name) {
            Some(bytes) => check(sample, &bytes),
            None => absent.push(name),
        }
    }
    assert!(absent.is_empty(), "no fixture for {absent:?}: {WRITE}=1 writes those of new formats");
    let built: BTreeSet<_> = samples.into_iter().map(|sample| sample.name).collect();
    assert!(listed.is_subset(&built), "nothing knows {:?}", listed.difference(&built));
    assert!(fixtures.files().iter().eq(fixtures.names()), "the index lists {:?}", fixtures.files());
}

#[test]
fn every_format_has_a_fixture() {
    let fixtures = Fixtures::open();
    for (format, _) in FORMATS {
        let prefix = format!("{format}/");
        assert!(fixtures.names().any(|name| name.starts_with(&prefix)), "{format}");
    }
}
