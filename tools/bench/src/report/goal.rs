//! Whether a goal was reached.

use super::text;
use crate::rows::{Against, Goal, Metric, Row};
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
    /// What it is set beside, the best peer or a control, and its figure.
    rival: Option<(String, f64)>,
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
        Metric::FetchedBytes => figures.fetched_bytes.map(|bytes| bytes as f64),
        Metric::RestMib => figures.rest_mib,
    }
}

/// Sets our figure beside the best peer's. A tool with a failed run has no figure: what it did cannot be relied on.
pub(super) fn reached(row: &Row, samples: &[&Sample]) -> Reached {
    let ours = median(row, samples, row.ours);
    let rival = rival(row, samples);
    let verdict = match (ours, &rival, row.goal) {
        (Some(ours), _, Goal::Below(limit)) => verdict(ours <= limit),
        (Some(ours), _, Goal::Above(limit)) => verdict(ours >= limit),
        (Some(ours), Some((_, rival)), Goal::AtMost(ratio)) => verdict(ours <= rival * ratio),
        (Some(ours), Some((_, rival)), Goal::AtLeast(ratio)) => verdict(ours >= rival * ratio),
        (Some(ours), Some((_, rival)), Goal::TimesBetter(times)) => {
            verdict(times_better(row.metric, ours, *rival) >= times)
        }
        (None, _, _) if !newest_of_runs(samples, row.ours).is_empty() => Verdict::Failed,
        (None, _, _) | (_, None, _) => Verdict::NotMeasured,
    };
    Reached { title: row.title, metric: row.metric, goal: row.goal, ours, rival, verdict }
}

/// The best of the peers that count, or the control.
fn rival(row: &Row, samples: &[&Sample]) -> Option<(String, f64)> {
    let named = |name: &str| Some((name.to_owned(), median(row, samples, name)?));
    let peers = tool::all().iter().filter(|tool| tool.role == Role::Peer);
    let peers: Vec<&str> = match row.against {
        Against::Any => peers.map(|tool| tool.name).collect(),
        Against::Sealed => peers.filter(|tool| tool.is_sealed).map(|tool| tool.name).collect(),
        Against::Control(control) => return named(control.name()),
    };
    peers.into_iter().filter_map(named).min_by(|one, other| {
        let order = one.1.total_cmp(&other.1);
        if row.metric.is_better_high() { order.reverse() } else { order }
    })
}

fn verdict(is_met: bool) -> Verdict {
    if is_met { Verdict::Met } else { Verdict::NotMet }
}

fn times_better(metric: Metric, ours: f64, rival: f64) -> f64 {
    if metric.is_better_high() { ours / rival } else { rival / ours }
}

fn median(row: &Row, samples: &[&Sample], tool: &str) -> Option<f64> {
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
        self.ours.is_some() || self.rival.is_some() || self.verdict == Verdict::Failed
    }

    /// A line of a table.
    pub(super) fn line(&self) -> String {
        let amount = |value| text::amount(self.metric, value);
        let ours = self.ours.map_or_else(|| NOTHING.to_owned(), amount);
        let rival = self
            .rival
            .as_ref()
            .map_or_else(|| NOTHING.to_owned(), |(name, value)| format!("{} ({name})", amount(*value)));
        let compared = match (self.ours, &self.rival) {
            (Some(ours), Some((_, rival))) => match self.goal {
                Goal::AtMost(_) | Goal::AtLeast(_) | Goal::Below(_) | Goal::Above(_) => {
                    format!("{:.2} ×", ours / rival)
                }
                Goal::TimesBetter(_) => {
                    format!("{:.1} times better", times_better(self.metric, ours, *rival))
                }
            },
            (_, _) => NOTHING.to_owned(),
        };
        let goal = match self.goal {
            Goal::AtMost(ratio) => format!("≤ {ratio} ×"),
            Goal::AtLeast(ratio) => format!("≥ {ratio} ×"),
            Goal::TimesBetter(times) => format!("≥ {times} times better"),
            Goal::Below(limit) => format!("≤ {}", text::amount(self.metric, limit)),
            Goal::Above(limit) => format!("≥ {}", text::amount(self.metric, limit)),
        };
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::NotMet => "**not met**",
            Verdict::NotMeasured => "not measured",
            Verdict::Failed => "**failed**",
        };
        format!("| {} | {ours} | {rival} | {compared} | {goal} | {verdict} |\n", self.title)
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
        (reached.verdict, reached.rival.map(|(name, _)| name))
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
    fn a_control_counts_instead_of_peers() {
        let samples = |ours| {
            [
                sample(1, "m", "ours", 1, ours),
                sample(1, "m", "ext4", 1, 1.0),
                sample(1, "m", "restic", 1, 0.1),
            ]
        };
        assert_eq!(verdict_of("mount.find.cold", &samples(2.5)), (Verdict::Met, Some("ext4".to_owned())));
        assert_eq!(verdict_of("mount.find.cold", &samples(2.6)).0, Verdict::NotMet);
        assert_eq!(verdict_of("mount.find", &samples(0.1)).1, Some("restic".to_owned()));
        let rates = |ours| [with_rate("ours", ours), with_rate("restore", 500.0)];
        assert_eq!(verdict_of("mount.sequential.near", &rates(400.0)).0, Verdict::Met);
        assert_eq!(verdict_of("mount.sequential.near", &rates(399.0)).0, Verdict::NotMet);
    }

    #[test]
    fn some_rates_have_to_be_reached_whatever_others_do() {
        assert_eq!(verdict_of("mount.random.warm", &[with_rate("ours", 1e5)]), (Verdict::Met, None));
        assert_eq!(verdict_of("mount.random.warm", &[with_rate("ours", 99_999.0)]), (Verdict::NotMet, None));
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
