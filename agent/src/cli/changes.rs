//! How a version differs from the one it started from, in words and in documents.

use backstore_protocol::snapshot::{Changes, Counts};
use serde_json::{Value, json};

use super::text as words;

/// `3 new, 1 changed, 2 removed; 5.0 MB in them, 4.8 MB new, 1.2 MB stored`.
pub(super) fn text(changes: &Changes) -> String {
    let Changes { new, changed, removed, bytes, bytes_new, bytes_stored } = changes;
    format!(
        "{} new, {} changed, {} removed; {} in them, {} new, {} stored",
        words::count(new.all()),
        words::count(changed.all()),
        words::count(removed.all()),
        words::size(*bytes),
        words::size(*bytes_new),
        words::size(*bytes_stored),
    )
}

/// The counts as a document.
pub(super) fn json(changes: &Changes) -> Value {
    let mut document = json!({
        "bytes_changed": changes.bytes,
        "bytes_new": changes.bytes_new,
        "bytes_stored": changes.bytes_stored,
    });
    let counts = [("new", changes.new), ("changed", changes.changed), ("removed", changes.removed)];
    for (what, Counts { files, directories, others }) in counts {
        document[format!("files_{what}")] = files.into();
        document[format!("directories_{what}")] = directories.into();
        document[format!("others_{what}")] = others.into();
    }
    document
}

/// Adds the counts to a document about a version with so many entries.
pub(super) fn add_to(document: &mut Value, changes: &Changes, entries: u64) {
    let unchanged = entries.saturating_sub(changes.new.all()).saturating_sub(changes.changed.all());
    document["entries"] = entries.into();
    document["entries_unchanged"] = unchanged.into();
    if let (Value::Object(document), Value::Object(changes)) = (document, json(changes)) {
        document.extend(changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_new_nor_changed_is_unchanged() {
        let changes = Changes {
            new: Counts { files: 1, directories: 2, others: 3 },
            changed: Counts { files: 4, directories: 0, others: 0 },
            removed: Counts { files: 9, directories: 0, others: 0 },
            bytes: 1000,
            bytes_new: 20,
            bytes_stored: 7,
        };
        assert_eq!(text(&changes), "6 new, 4 changed, 9 removed; 1.0 kB in them, 20 B new, 7 B stored");
        let mut document = json!({ "set": "home" });
        add_to(&mut document, &changes, 12);
        assert_eq!(document["set"], "home");
        assert_eq!(document["entries_unchanged"], 2);
        assert_eq!(document["others_new"], 3);
        assert_eq!(document["files_removed"], 9);
    }
}
