//! `by-time`: all versions by year, month and day.

use std::borrow::Cow;

use super::version::VersionList;
use super::views::{FIXED, Item, Line, Lines, Period, SEQUENCE_MAX, View};

impl View {
    /// What is listed on a level.
    pub(super) fn lines_by_time(self, period: Period, list: &VersionList) -> Lines<'_> {
        let below = move |number: u32, name: String, period: Period| Line {
            order: FIXED + u64::from(number),
            name: Cow::Owned(name.into_bytes()),
            item: Item::View(Self::ByTime(period)),
        };
        let days = list.by_day().keys().copied();
        match period {
            Period::Always => {
                let mut last = None;
                let years = days.map(|day| day.year).filter(move |year| last.replace(*year) != Some(*year));
                Box::new(years.map(move |year| below(year.into(), format!("{year:04}"), Period::Year(year))))
            }
            Period::Year(year) => {
                let mut last = None;
                let months = days.filter(move |day| day.year == year).map(|day| day.month);
                let months = months.filter(move |month| last.replace(*month) != Some(*month));
                Box::new(months.map(move |month| {
                    below(month.into(), format!("{year:04}-{month:02}"), Period::Month(year, month))
                }))
            }
            Period::Month(year, month) => {
                let days = days.filter(move |day| (day.year, day.month) == (year, month));
                Box::new(days.map(move |day| below(day.day.into(), day.to_string(), Period::Day(day))))
            }
            Period::Day(day) => {
                let versions = list.by_day().get(&day).into_iter().flatten();
                Box::new(versions.filter_map(move |named| {
                    let (_, time) = named.day_and_time()?;
                    let order = FIXED + named.version.sequence.min(SEQUENCE_MAX);
                    Some(Line { order, name: Cow::Borrowed(time.as_bytes()), item: self.link_to(named) })
                }))
            }
        }
    }
}
