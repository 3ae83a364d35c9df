//! Whether a goal was reached.

use super::text;
use crate::rows::{Against, Goal, Metric, Row};
use crate::run::CONTROL;
use crate::sample::{Figures, Outcome, Sample};
use crate::statistics::Spread;
use crate::tool::{self, Role};

/// What was reached of a row's goal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reached {
    pub(super) title: &'static str,
    metric: Metric,
    goal: Goal,
    ours: Option<f64>,
    /// The best peer and its figure.
    peer: Option<(String, f64)>,
    pub(super) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    NotMet,
    NotMeasured,
    /// Our program failed.
    Failed,
}

/// The figure of a sample that a metric is about.
pub(super) fn figure(metric: Metric, figures: &Figures) -> Option<f64> {
    match metric {
        Metric::Wall => Some(figures.wall_s),
        Metric::RepositoryBytes => figures.repository_bytes.map(|bytes| bytes as f64),
        Metric::GrowthBytes => figures.growth_bytes.map(|bytes| bytes as f64),
        Metric::PeakMib => Some(figures.peak_mib),
        Metric::Throughput | Metric::ReadsPerS => figures.rate,
    }
}

/// Sets our figure beside the best peer's. A tool with a failed run has no figure: what it did cannot be relied on.
pub(super) fn reached(row: &Row, samples: &[&Sample]) -> Reached {
    let ours = median(row, samples, row.ours);
    let peers = tool::all().iter().filter(|tool| {
        let counts = match row.against {
            Against::Any => true,
            Against::Sealed => tool.is_sealed,
        };
        tool.role == Role::Peer && counts
    });
    let peers = peers.filter_map(|tool| Some((tool.name.to_owned(), median(row, samples, tool.name)?)));
    let by_figure = |one: &(String, f64), other: &(String, f64)| {
        let order = one.1.total_cmp(&other.1);
        if row.metric.is_better_high() { order.reverse() } else { order }
    };
    let peer = peers.min_by(by_figure);
    let verdict = match (ours, &peer, row.goal) {
        (Some(ours), _, Goal::Below(limit)) => verdict(ours <= limit),
        (Some(ours), Some((_, peer)), Goal::AtMost(ratio)) => verdict(ours <= peer * ratio),
        (Some(ours), Some((_, peer)), Goal::TimesBetter(times)) => {
            verdict(times_better(row.metric, ours, *peer) >= times)
        }
        (None, _, _) if !newest_of_runs(samples, row.ours).is_empty() => Verdict::Failed,
        (None, _, _) | (_, None, _) => Verdict::NotMeasured,
    };
    Reached { title: row.title, metric: row.metric, goal: row.goal, ours, peer, verdict }
}

fn verdict(is_met: bool) -> Verdict {
    if is_met { Verdict::Met } else { Verdict::NotMet }
}

fn times_better(metric: Metric, ours: f64, peer: f64) -> f64 {
    if metric.is_better_high() { ours / peer } else { peer / ours }
}

fn median(row: &Row, samples: &[&Sample], tool: &str) -> Option<f64> {
    debug_assert_ne!(tool, CONTROL);
    let of_tool: Vec<&Outcome> = newest_of_runs(samples, tool);
    let figures = of_tool.iter().map(|outcome| match outcome {
        Outcome::Figures(figures) => figure(row.metric, figures),
        Outcome::Failed(_) => None,
    });
    Spread::of(figures.collect::<Option<Vec<f64>>>()?).map(|spread| spread.median)
}

/// The outcomes of a tool, one for each run: a run that failed and was resumed counts as it ended.
pub(super) fn newest_of_runs<'a>(samples: &[&'a Sample], tool: &str) -> Vec<&'a Outcome> {
    let of_tool = samples.iter().filter(|sample| sample.tool == tool);
    let by_run: std::collections::BTreeMap<u32, &Outcome> =
        of_tool.map(|sample| (sample.run, &sample.outcome)).collect();
    by_run.into_values().collect()
}

impl Reached {
    /// There is anything to show.
    pub(super) fn has_figures(&self) -> bool {
        self.ours.is_some() || self.peer.is_some() || self.verdict == Verdict::Failed
    }

    /// A line of a table.
    pub(super) fn line(&self) -> String {
        let amount = |value| text::amount(self.metric, value);
        let ours = self.ours.map_or_else(|| NOTHING.to_owned(), amount);
        let peer = self
            .peer
            .as_ref()
            .map_or_else(|| NOTHING.to_owned(), |(name, value)| format!("{} ({name})", amount(*value)));
        let compared = match (self.ours, &self.peer) {
            (Some(ours), Some((_, peer))) => match self.goal {
                Goal::AtMost(_) | Goal::Below(_) => format!("{:.2} ×", ours / peer),
                Goal::TimesBetter(_) => {
                    format!("{:.1} times better", times_better(self.metric, ours, *peer))
                }
            },
            (_, _) => NOTHING.to_owned(),
        };
        let goal = match self.goal {
            Goal::AtMost(ratio) => format!("≤ {ratio} ×"),
            Goal::TimesBetter(times) => format!("≥ {times} times better"),
            Goal::Below(limit) => format!("≤ {}", text::amount(self.metric, limit)),
        };
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::NotMet => "**not met**",
            Verdict::NotMeasured => "not measured",
            Verdict::Failed => "**failed**",
        };
        format!("| {} | {ours} | {peer} | {compared} | {goal} | {verdict} |\n", self.title)
    }
}

const NOTHING: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;
    use crate::sample::tests::sample;

    fn verdict_of(id: &str, samples: &[Sample]) -> (Verdict, Option<String>) {
        let row = ROWS.iter().find(|row| row.id == id).expect("a row");
        let reached = reached(row, &samples.iter().collect::<Vec<_>>());
        (reached.verdict, reached.peer.map(|(name, _)| name))
    }

    fn with_rate(tool: &str, rate: f64) -> Sample {
        let figures = Figures { wall_s: 1.0, rate: Some(rate), ..Figures::default() };
        Sample { outcome: Outcome::Figures(figures), ..sample(1, "mount.random", tool, 1, 0.0) }
    }

    #[test]
    fn ratios() {
        let samples = |ours| [sample(1, "m", "ours", 1, ours), sample(1, "m", "restic", 1, 10.0)];
        let restic = || Some("restic".to_owned());
        assert_eq!(verdict_of("first.src", &samples(6.0)), (Verdict::Met, restic()));
        assert_eq!(verdict_of("first.src", &samples(6.1)), (Verdict::NotMet, restic()));
        assert_eq!(verdict_of("mount.find", &samples(1.0)), (Verdict::Met, restic()));
        assert_eq!(verdict_of("mount.find", &samples(2.0)), (Verdict::NotMet, restic()));
    }

    #[test]
    fn rates_are_better_high() {
        let samples = |ours| [with_rate("ours", ours), with_rate("rustic", 700.0), with_rate("borg", 70.0)];
        assert_eq!(verdict_of("mount.random", &samples(7000.0)), (Verdict::Met, Some("rustic".to_owned())));
        assert_eq!(verdict_of("mount.random", &samples(6999.0)).0, Verdict::NotMet);
    }

    #[test]
    fn an_absolute_goal_needs_no_peer() {
        assert_eq!(verdict_of("mount.ready.src", &[sample(1, "m", "ours", 1, 0.09)]), (Verdict::Met, None));
        assert_eq!(verdict_of("first.src", &[sample(1, "m", "ours", 1, 0.09)]), (Verdict::NotMeasured, None));
    }

    #[test]
    fn our_failure_is_told_from_what_was_not_measured() {
        let failed = Sample { outcome: Outcome::Failed("x".into()), ..sample(1, "m", "ours", 1, 0.0) };
        let peer = sample(1, "m", "restic", 1, 1.0);
        assert_eq!(verdict_of("first.src", &[failed, peer.clone()]).0, Verdict::Failed);
        assert_eq!(verdict_of("first.src", &[peer]).0, Verdict::NotMeasured);
    }

    #[test]
    fn who_counts() {
        let samples = [
            sample(1, "m", "ours", 1, 2.0),
            sample(1, "m", "conserve", 1, 1.0),
            sample(1, "m", "restic+rest-server", 1, 0.5),
            sample(1, "m", "bupstash", 1, 5.0),
        ];
        assert_eq!(verdict_of("changed.small", &samples), (Verdict::Met, Some("bupstash".to_owned())));
        assert_eq!(verdict_of("first.small", &samples), (Verdict::NotMet, Some("conserve".to_owned())));
    }

    #[test]
    fn a_failed_run_spoils_a_tool_unless_it_was_repeated() {
        let failed = Sample { outcome: Outcome::Failed("x".into()), ..sample(1, "m", "restic", 2, 0.0) };
        let mut samples = vec![sample(1, "m", "ours", 1, 1.0), sample(1, "m", "restic", 1, 9.0), failed];
        assert_eq!(verdict_of("first.src", &samples), (Verdict::NotMeasured, None));
        samples.push(sample(1, "m", "restic", 2, 8.0));
        assert_eq!(verdict_of("first.src", &samples), (Verdict::Met, Some("restic".to_owned())));
    }
}
