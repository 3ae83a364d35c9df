//! What is known of a server that cannot be reached, so that not everybody who needs it has to find out again.
//!
//! A server that has just been tried in vain is not tried again at once, and who waited while it was tried shares what came of it. Nothing
//! here is kept for longer than until the next connection.

use std::time::{Duration, Instant};

/// The last attempt to reach the server has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outage {
    /// When it was given up.
    pub(super) since: Instant,
    /// What it said.
    pub(super) detail: String,
}

/// What somebody does who needs a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Try for as long as patience lasts.
    Try,
    /// Patience was spent on this outage already: try once.
    TryOnce,
    /// It was tried just now.
    Fail,
}

/// How long a failure is taken for the present state.
const NEWS: Duration = Duration::from_secs(2);

impl Outage {
    /// What somebody does at `now` who asked for a connection at `asked_at`.
    pub(super) fn advice(last: Option<&Self>, asked_at: Instant, now: Instant) -> Advice {
        match last {
            None => Advice::Try,
            Some(outage) if outage.since >= asked_at => Advice::Fail,
            Some(outage) if now.saturating_duration_since(outage.since) < NEWS => Advice::Fail,
            Some(_) => Advice::TryOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_down_is_tried_by_one_at_a_time_and_not_all_the_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let outage = Outage { since: at(60), detail: "no answer".to_owned() };
        let advice = |asked_at, now| Outage::advice(Some(&outage), at(asked_at), at(now));
        assert_eq!(Outage::advice(None, at(0), at(60)), Advice::Try);
        assert_eq!(advice(10, 60), Advice::Fail, "it waited while the server was tried");
        assert_eq!(advice(10, 70), Advice::Fail, "however late it was told");
        assert_eq!(advice(61, 61), Advice::Fail);
        assert_eq!(advice(62, 62), Advice::TryOnce);
        assert_eq!(advice(600, 600), Advice::TryOnce);
    }
}
