//! Whole backups of real folders.

mod clocks;
mod counts;
