//! Every tool's figures for one measurement.

use super::goal::newest_of_runs;
use super::text;
use crate::measurements::{InMount, Measurement, Setting, Work};
use crate::rows::Metric;
use crate::sample::{Figures, Outcome, Results, Sample};
use crate::statistics::Spread;

/// The table; nothing without samples.
pub(super) fn table(measurement: &Measurement, results: &Results) -> String {
    let samples = results.newest(measurement.id);
    if samples.is_empty() {
        return String::new();
    }
    let extra = extra(measurement.work);
    let mut text =
        format!("## {}\n\n| program | runs | median | least – greatest | CPU | memory | ", measurement.id);
    text.push_str("server CPU | server memory | sync after |");
    text.push_str(&extra.iter().map(|column| format!(" {} |", column.name)).collect::<String>());
    text.push_str(&format!("\n|---|---|---|---|---|---|---|---|---|{}\n", "---|".repeat(extra.len())));
    let mut tools: Vec<&str> = Vec::new();
    for sample in &samples {
        if !tools.contains(&&*sample.tool) {
            tools.push(&sample.tool);
        }
    }
    for tool in tools {
        text.push_str(&line(tool, &samples, &extra));
    }
    text.push('\n');
    text
}

/// A column that only some measurements have.
struct Column {
    name: &'static str,
    value: fn(&Figures) -> Option<f64>,
    show: fn(f64) -> String,
}

fn extra(work: Work) -> Vec<Column> {
    match work {
        Work::First => vec![REPOSITORY],
        Work::Unchanged | Work::Changed | Work::Growth => vec![GROWTH],
        Work::Ready => vec![TREE],
        Work::Versions => vec![TREE, AT_REST, VERSIONS],
        Work::Mounted(InMount::Sequential) | Work::Alone(InMount::Sequential, _) => vec![THROUGHPUT],
        Work::Mounted(InMount::RandomReads(_)) => vec![READS, DELAY],
        Work::Alone(InMount::RandomReads(_), Setting::Counted) => vec![READS, DELAY, FETCHED],
        Work::Alone(InMount::RandomReads(_), _) => vec![READS, DELAY],
        Work::Alone(_, Setting::Counted) => vec![FETCHED],
        Work::Restore | Work::Mounted(_) | Work::Alone(_, _) => Vec::new(),
    }
}

const REPOSITORY: Column = Column {
    name: "repository",
    value: |figures| figures.repository_bytes.map(|bytes| bytes as f64),
    show: text::bytes,
};
const GROWTH: Column = Column {
    name: "growth",
    value: |figures| figures.growth_bytes.map(|bytes| bytes as f64),
    show: text::bytes,
};
const FETCHED: Column = Column {
    name: "from the server",
    value: |figures| figures.fetched_bytes.map(|bytes| bytes as f64),
    show: text::bytes,
};
const TREE: Column =
    Column { name: "then its tree listed", value: |figures| figures.tree_s, show: text::seconds };
const THROUGHPUT: Column = Column {
    name: "rate",
    value: |figures| figures.rate,
    show: |rate| text::amount(Metric::Throughput, rate),
};
const READS: Column = Column {
    name: "rate",
    value: |figures| figures.rate,
    show: |rate| text::amount(Metric::ReadsPerS, rate),
};
const DELAY: Column = Column {
    name: "99 of 100 within",
    value: |figures| figures.p99_us.map(|us| us / 1e6),
    show: text::seconds,
};
const AT_REST: Column = Column {
    name: "memory at rest",
    value: |figures| figures.rest_mib,
    show: |mib| text::amount(Metric::RestMib, mib),
};
const VERSIONS: Column = Column {
    name: "versions",
    value: |figures| figures.versions.map(f64::from),
    show: |count| format!("{count:.0}"),
};

fn line(tool: &str, samples: &[&Sample], extra: &[Column]) -> String {
    let outcomes = newest_of_runs(samples, tool);
    let figures: Vec<&Figures> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Figures(figures) => Some(figures),
            Outcome::Failed(_) => None,
        })
        .collect();
    let failure = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Figures(_) => None,
        Outcome::Failed(problem) => Some(format!("failed: {}", text::cell(problem))),
    });
    let median = |value: &dyn Fn(&Figures) -> Option<f64>, show: &dyn Fn(f64) -> String| {
        let values = figures.iter().filter_map(|figures| value(figures));
        Spread::of(values).map_or_else(|| "–".to_owned(), |spread| show(spread.median))
    };
    let wall = Spread::of(figures.iter().map(|figures| figures.wall_s));
    let mut spread = wall.filter(|wall| wall.count > 1).map_or_else(String::new, |wall| {
        format!("{} – {}", text::seconds(wall.least), text::seconds(wall.greatest))
    });
    let disturbed = figures.iter().filter(|figures| figures.is_disturbed()).count();
    if disturbed > 0 {
        spread.push_str(&format!(" ({disturbed} disturbed)"));
    }
    spread.extend(failure.map(|failure| format!(" {failure}")));
    let mib = |mib: f64| text::amount(Metric::PeakMib, mib);
    let mut cells = vec![
        tool.to_owned(),
        figures.len().to_string(),
        median(&|figures| Some(figures.wall_s), &text::seconds),
        spread.trim().to_owned(),
        median(&|figures| Some(figures.cpu_s), &text::seconds),
        median(&|figures| Some(figures.peak_mib), &mib),
        median(&|figures| figures.server_cpu_s, &text::seconds),
        median(&|figures| figures.server_peak_mib, &mib),
        median(&|figures| Some(figures.sync_after_s), &text::seconds),
    ];
    cells.extend(extra.iter().map(|column| median(&column.value, &column.show)));
    format!("| {} |\n", cells.join(" | "))
}
