//! The clock and the randomness a vault is given.

/// Clock and random numbers.
pub trait Machine: Send + Sync {
    /// Wall clock, milliseconds since 1970. It may jump in either direction.
    fn now_ms(&self) -> i64;

    /// Fills `bytes` with random numbers fit for keys.
    fn random(&self, bytes: &mut [u8]);
}
