//! The server: takes connections, knows which account a device belongs to, and puts sessions over the vault.
//!
//! [`serve`] is the program's main use. [`connection`] is one [`client`] from hello to goodbye, [`operations`] what each of its streams may ask,
//! [`service`] what all connections share. The vault blocks, so it is called off the threads that drive the network. What a client can make the server
//! hold in memory is bounded by the windows of its connection and by [`service::Budget`] over all of them. [`healing`] makes a damaged index anew
//! while the server runs.

pub mod checking;
pub mod cli;
pub mod client;
pub mod connection;
pub mod healing;
pub mod identity;
pub mod local;
pub mod operations;
pub mod serve;
pub mod service;
