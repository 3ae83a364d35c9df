//! Restoring real backups, and hostile ones.
