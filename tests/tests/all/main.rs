//! Tests of BackStore as a whole, in one program.

mod architecture;
mod invitation;
mod sources;
