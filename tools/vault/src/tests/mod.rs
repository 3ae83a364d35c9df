//! Tests of the vault as a whole, through its public door.

mod basics;
mod crash;
mod damage;
mod faults;
mod folder;
mod follow;
mod golden;
mod index_damage;
mod model;
mod world;
