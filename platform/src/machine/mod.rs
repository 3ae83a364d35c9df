//! The time and randomness of the machine: the only place that asks for them.
//!
//! Everything else takes a [`Machine`], so that a test decides what time it is and what is random. `std` and `getrandom` hide
//! the operating systems, so there is one implementation.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backstore_protocol::entry::Time;

/// Clocks and random numbers.
pub trait Machine: Send + Sync {
    /// Wall clock, milliseconds since 1970, rounded down. It may jump in either direction.
    fn now_ms(&self) -> i64;

    /// Wall clock to the nanosecond, comparable with the times of files as far as the file system's clock is.
    fn now(&self) -> Time;

    /// Time since a moment that stays the same while the process runs; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Fills `bytes` with random numbers fit for keys.
    fn random(&self, bytes: &mut [u8]);
}

/// The computer this process runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct System;

impl Machine for System {
    fn now_ms(&self) -> i64 {
        let now = self.now();
        now.seconds.saturating_mul(1000).saturating_add(i64::from(now.nanoseconds / 1_000_000))
    }

    fn now(&self) -> Time {
        time_from(SystemTime::now())
    }

    fn monotonic(&self) -> Duration {
        STARTED.elapsed()
    }

    /// # Panics
    ///
    /// When the system has no randomness to give, which no supported system does once it has started: nothing can be sealed
    /// then, and going on without would be worse.
    fn random(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random numbers");
    }
}

/// When this process first asked for monotonic time.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment as archives store it. What does not fit becomes the nearest moment that does.
pub fn time_from(moment: SystemTime) -> Time {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: after.subsec_nanos(),
        },
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            match before.subsec_nanos() {
                0 => Time { seconds, nanoseconds: 0 },
                nanoseconds => {
                    Time { seconds: seconds.saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn moments_before_1970_round_down() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        let before = |duration| time_from(UNIX_EPOCH - duration);
        assert_eq!(time_from(UNIX_EPOCH), time(0, 0));
        // Windows counts in steps of 100 ns.
        assert_eq!(before(Duration::new(0, 100)), time(-1, 999_999_900));
        assert_eq!(before(Duration::new(1, 0)), time(-1, 0));
        assert_eq!(before(Duration::new(1, 250_000_000)), time(-2, 750_000_000));
        assert_eq!(time_from(UNIX_EPOCH + Duration::new(4_294_967_296, 500)), time(4_294_967_296, 500));
    }

    #[test]
    fn clocks_agree_and_never_go_back() {
        let machine: Arc<dyn Machine> = Arc::new(System);
        let (first, second) = (machine.monotonic(), machine.monotonic());
        assert!(first <= second);
        let seconds = machine.now().seconds;
        assert!((machine.now_ms() / 1000 - seconds).abs() <= 1);
        assert!(seconds > 1_577_836_800, "the clock of this computer stands before 2020: {seconds}");
    }

    #[test]
    fn random_fills_all_of_it() {
        let mut bytes = [0; 1024];
        System.random(&mut bytes);
        let mut seen = [false; 256];
        bytes.iter().for_each(|byte| seen[usize::from(*byte)] = true);
        let values = seen.iter().filter(|seen| **seen).count();
        // 1024 draws of 256 values leave about 5 of them out; more than 60 is beyond all chance.
        assert!(values > 196, "{values} different values");
        assert!(bytes[1000..].iter().any(|byte| *byte != 0));
    }
}
