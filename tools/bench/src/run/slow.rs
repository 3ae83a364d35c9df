//! Which peers need not be measured again: those that cannot be the best, judged by their first run.

use crate::sample::{Outcome, Sample};
use crate::tool;

/// A peer this many times slower than the best one in its first run is not measured again.
const SLOW_FACTOR: f64 = 1.6;

/// Whether a tool, by these samples of peers, is slow. One without a sample is not; neither is the best one, and the best
/// of those that encrypt, which some goals refer to.
pub(super) fn is_slow<'a>(tool: &str, peers: impl Iterator<Item = &'a Sample>) -> bool {
    let first_runs: Vec<(&str, f64)> = peers
        .filter(|sample| sample.run == 1)
        .filter_map(|sample| Some((&*sample.tool, cost(sample)?)))
        .collect();
    let is_sealed = |name: &str| tool::all().iter().any(|tool| tool.name == name && tool.is_sealed);
    let rivals = first_runs.iter().filter(|(name, _)| is_sealed(name) || !is_sealed(tool));
    let best = rivals.map(|(_, cost)| *cost).min_by(f64::total_cmp);
    let own = first_runs.iter().rev().find(|(name, _)| *name == tool);
    matches!((own, best), (Some((_, own)), Some(best)) if *own > best * SLOW_FACTOR)
}

/// Seconds; for a rate, seconds a piece.
fn cost(sample: &Sample) -> Option<f64> {
    match &sample.outcome {
        Outcome::Figures(figures) => Some(figures.rate.map_or(figures.wall_s, |rate| 1.0 / rate.max(1e-9))),
        Outcome::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Figures;
    use crate::sample::tests::sample;

    #[test]
    fn peers_far_behind_are_slow() {
        let samples = [
            sample(1, "first.src", "bupstash", 1, 5.0),
            sample(1, "first.src", "restic", 1, 7.9),
            sample(1, "first.src", "borg", 1, 8.1),
        ];
        let slow = |tool| is_slow(tool, samples.iter());
        assert_eq!(
            (slow("bupstash"), slow("restic"), slow("borg"), slow("ours")),
            (false, false, true, false)
        );
    }

    #[test]
    fn the_best_that_encrypts_is_not_slow() {
        let samples = [
            sample(1, "changed.small", "conserve", 1, 2.0),
            sample(1, "changed.small", "bupstash", 1, 5.0),
            sample(1, "changed.small", "restic", 1, 9.0),
        ];
        assert!(!is_slow("bupstash", samples.iter()) && is_slow("restic", samples.iter()));
        let samples = [sample(1, "m", "conserve", 1, 9.0), sample(1, "m", "bupstash", 1, 5.0)];
        assert!(is_slow("conserve", samples.iter()));
    }

    #[test]
    fn of_rates_the_high_ones_are_good() {
        let rate = |tool, rate| {
            let figures = Figures { wall_s: 10.0, rate: Some(rate), ..Figures::default() };
            Sample { outcome: Outcome::Figures(figures), ..sample(1, "mount.random", tool, 1, 0.0) }
        };
        let samples = [rate("rustic", 700.0), rate("restic", 300.0)];
        assert!(is_slow("restic", samples.iter()) && !is_slow("rustic", samples.iter()));
    }
}
