//! A home, a folder vault and a set, for tests that need real backups.
