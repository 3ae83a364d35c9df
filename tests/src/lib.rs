//! What tests of BackStore as a whole share. So far: looking at its own source.

pub mod sources;
