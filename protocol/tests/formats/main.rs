//! Stored formats and frames are frozen: golden bytes of each, and agreement with a second implementation.

mod fixtures;
mod golden;
mod recode;
mod sample_account;
mod sample_sealed;
mod sample_snapshot;
mod sample_tree;
mod sample_wire;
mod vectors;
