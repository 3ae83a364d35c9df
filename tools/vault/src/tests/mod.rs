//! Tests of the vault as a whole, through its public door.

mod basics;
mod crash;
mod faults;
mod folder;
mod model;
mod world;
