//! Tests of the vault as a whole, through its public door.

mod basics;
mod folder;
