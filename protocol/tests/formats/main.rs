//! Stored formats and frames are frozen: golden bytes of each, and agreement with a second implementation.

mod fixtures;
mod vectors;
