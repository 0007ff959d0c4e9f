//! Moments of requests: one of each kind that the ends of policies and the windows of time tell apart.

use std::collections::{BTreeSet, HashSet};

use jiff::tz::TimeZone;

use super::lang::Lang;
use super::value::ValueSet;
use crate::clock::Timestamp;
use crate::policy::literals::Constraint;
use crate::policy::pattern::Observed;
use crate::policy::time_window::TimeWindow;

/// The moments, in order. Every moment of the calendar from the first one on is before the same ends
/// and within the same windows as one of them.
#[derive(Clone, Debug)]
pub(super) struct Moments(BTreeSet<Timestamp>);

impl Moments {
    /// From `at` on.
    pub(super) fn new(
        at: Timestamp,
        ends: impl IntoIterator<Item = Timestamp>,
        windows: &[TimeWindow],
    ) -> Self {
        let mut cuts: BTreeSet<_> = ends.into_iter().filter(|end| *end > at).collect();
        cuts.insert(at);
        let clocks = Clocks::of(windows);
        let mut moments = BTreeSet::new();
        let mut next = cuts.iter().copied().skip(1);
        for from in &cuts {
            let to = next.next().unwrap_or(Timestamp::from_unix(LAST));
            clocks.moments(*from, to, &mut moments);
        }
        Self(moments)
    }

    pub(super) fn domain(&self) -> ValueSet {
        self.set(|_| true)
    }

    /// Those that satisfy the constraint.
    pub(super) fn fitting(&self, constraint: &Constraint<'_>) -> ValueSet {
        self.set(|at| constraint.fits(Observed::Time(at)))
    }

    pub(super) fn before(&self, end: Timestamp) -> ValueSet {
        self.set(|at| at < end)
    }

    fn set(&self, is_in: impl Fn(Timestamp) -> bool) -> ValueSet {
        let fitting = self.0.iter().filter(|at| is_in(**at));
        ValueSet::texts(Lang::words(fitting.map(|at| text(*at))))
    }

    /// Whether there are too many of them for a search.
    pub(super) fn are_many(&self) -> bool {
        self.0.len() > MOST
    }
}

/// The moment as a text that sorts like it.
fn text(at: Timestamp) -> String {
    let since_first = i128::from(at.unix()).saturating_sub(i128::from(i64::MIN));
    format!("{since_first:020}")
}

/// The moment of a text.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let since_first: i128 = text.parse().ok()?;
    let unix = since_first.checked_add(i128::from(i64::MIN))?;
    Some(Timestamp::from_unix(i64::try_from(unix).ok()?))
}

/// A zone, and the minutes of its day at which some window begins or ends; midnight among them.
struct Clock<'a> {
    zone: &'a TimeZone,
    edges: BTreeSet<u16>,
}

/// The zones of some windows.
struct Clocks<'a> {
    windows: Vec<&'a TimeWindow>,
    zones: Vec<Clock<'a>>,
}

impl<'a> Clocks<'a> {
    fn of(all: &'a [TimeWindow]) -> Self {
        let mut windows: Vec<&TimeWindow> = Vec::new();
        let mut zones: Vec<Clock<'a>> = Vec::new();
        for window in all {
            if windows.contains(&window) {
                continue;
            }
            windows.push(window);
            let (from, to) = window.hours.unwrap_or_default();
            let edges = [0, from, to];
            match zones.iter_mut().find(|one| *one.zone == window.zone) {
                Some(known) => known.edges.extend(edges),
                None => zones.push(Clock {
                    zone: &window.zone,
                    edges: edges.into(),
                }),
            }
        }
        Self { windows, zones }
    }

    /// Adds one moment for each set of windows that some moment from `from` on and before `to` is in.
    ///
    /// Between two changes of a clock the week repeats, so a week is enough of it, and it is enough
    /// once for the same differences to UTC. Clocks of one zone are through after the first whole
    /// week; those of several zones meet in other ways until the calendar repeats itself.
    fn moments(&self, from: Timestamp, to: Timestamp, moments: &mut BTreeSet<Timestamp>) {
        moments.insert(from);
        if self.windows.is_empty() {
            return;
        }
        let mut seen = HashSet::from([self.holding(from)]);
        let mut whole_weeks = HashSet::new();
        let mut start = from.unix();
        let most = start.saturating_add(CYCLE).min(to.unix());
        while start < most {
            let end = self.change(start).unwrap_or(most).min(most);
            let week = start.saturating_add(WEEK);
            let offsets: Vec<i64> = self.zones.iter().map(|one| offset(one, start)).collect();
            let is_whole = week <= end;
            if !is_whole || whole_weeks.insert(offsets.clone()) {
                let zones = self.zones.iter().zip(&offsets);
                let edges = zones.flat_map(|(one, offset)| edges(one, *offset, start, week));
                let mut edges: Vec<i64> = edges.filter(|at| *at < end).collect();
                edges.push(start);
                edges.sort_unstable();
                edges.dedup();
                for at in edges.into_iter().map(Timestamp::from_unix) {
                    if seen.insert(self.holding(at)) {
                        moments.insert(at);
                    }
                }
            }
            if is_whole && self.zones.len() == 1 {
                return;
            }
            start = end;
        }
    }

    /// For each window whether it is that time.
    fn holding(&self, at: Timestamp) -> Vec<bool> {
        self.windows.iter().map(|window| window.holds(at)).collect()
    }

    /// When the next clock is changed.
    fn change(&self, after: i64) -> Option<i64> {
        let after = jiff::Timestamp::from_second(after).ok()?;
        let changes = self.zones.iter().filter_map(|one| {
            let next = one.zone.following(after);
            let mut next = next.map(|change| change.timestamp());
            Some(next.find(|next| *next > after)?.as_second())
        });
        changes.min()
    }
}

/// Seconds that local time is ahead of UTC.
fn offset(clock: &Clock<'_>, at: i64) -> i64 {
    let at = jiff::Timestamp::from_second(at);
    at.map_or(0, |at| i64::from(clock.zone.to_offset(at).seconds()))
}

/// The edges of the days that begin from a day before `from` to `to`, by a clock so far ahead of UTC;
/// those at `from` or before are left out.
fn edges(clock: &Clock<'_>, offset: i64, from: i64, to: i64) -> Vec<i64> {
    let day = |at: i64| at.saturating_add(offset).div_euclid(DAY);
    let days = day(from)..=day(to);
    let starts = days.map(|day| day.saturating_mul(DAY).saturating_sub(offset));
    let edges = starts.flat_map(|start| {
        let seconds = |minute: &u16| i64::from(*minute).saturating_mul(60);
        let edges = clock.edges.iter().map(seconds);
        edges.map(move |seconds| start.saturating_add(seconds))
    });
    edges.filter(|at| *at > from).collect()
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// 400 years, after which days of the year and of the week are the same.
const CYCLE: i64 = 146_097 * DAY;
/// The end of the calendar. What is later is in no window, and no token is from then.
const LAST: i64 = 253_402_207_200;
/// Moments that a search takes.
const MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(zone: &str, days: Option<[bool; 7]>, hours: Option<(u16, u16)>) -> TimeWindow {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        TimeWindow { days, hours, zone }
    }

    /// Every quarter of an hour is in the same windows, and before the same ends, as some moment.
    fn are_all(windows: &[TimeWindow], from: &str, ends: &[&str], days: i64) {
        let ends: Vec<Timestamp> = ends.iter().map(|end| at(end)).collect();
        let kind = |now: Timestamp| {
            let within = windows.iter().map(|window| window.holds(now));
            let before = ends.iter().map(|end| now < *end);
            within.chain(before).collect::<Vec<bool>>()
        };
        let moments = Moments::new(at(from), ends.iter().copied(), windows);
        let found: HashSet<_> = moments.0.iter().map(|now| kind(*now)).collect();
        assert!(moments.0.iter().all(|now| *now >= at(from)));
        let all = (0..days * 96).map(|quarter| at(from).plus(quarter * 900));
        for now in all {
            assert!(found.contains(&kind(now)), "{now}");
        }
        assert_eq!(found.len(), moments.0.len());
        for now in &moments.0 {
            assert_eq!(moment(&text(*now)), Some(*now));
        }
    }

    /// T-303
    #[test]
    fn every_moment_is_like_one_of_the_moments() {
        let monday = Some([true, false, false, false, false, false, false]);
        let sunday = Some([false, false, false, false, false, false, true]);
        let windows = [
            window("Europe/Berlin", monday, Some((8 * 60, 18 * 60))),
            window("Europe/Berlin", None, Some((17 * 60, 24 * 60))),
            window("Europe/Berlin", sunday, None),
        ];
        let year = 366;
        are_all(&windows, "2026-11-24T18:00:30Z", &[], year);
        are_all(&[], "2026-11-24T18:00:30Z", &["2026-12-01T00:00:00Z"], year);
        are_all(
            &windows,
            "2026-11-24T18:00:00Z",
            &[
                "2026-11-26T00:00:00Z",
                "2026-11-26T01:30:00Z",
                "2020-01-01T00:00:00Z",
            ],
            year,
        );
        // Within an hour that the clocks skip, and one that they repeat.
        for day in ["2027-03-27T00:00:00Z", "2027-10-30T00:00:00Z"] {
            let night = [window("Europe/Berlin", sunday, Some((2 * 60, 3 * 60)))];
            let end = at(day).plus(2 * DAY).to_string();
            are_all(&night, day, &[&end], year);
        }
        // A zone and another one, which change their clocks on other days.
        let two = [
            window("Europe/Berlin", monday, Some((8 * 60, 18 * 60))),
            window("America/New_York", None, Some((3 * 60, 12 * 60))),
            window("Asia/Kolkata", sunday, None),
        ];
        are_all(&two, "2026-11-24T18:00:00Z", &[], 3 * year);
    }

    /// T-303: the hour is skipped on the one day that is left.
    #[test]
    fn a_window_that_does_not_occur_has_no_moment() {
        let sunday = Some([false, false, false, false, false, false, true]);
        let night = window("Europe/Berlin", sunday, Some((2 * 60, 3 * 60)));
        let (from, end) = (at("2027-03-27T00:00:00Z"), at("2027-03-29T00:00:00Z"));
        let moments = Moments::new(from, [end], std::slice::from_ref(&night));
        assert!(!moments.0.iter().any(|now| *now < end && night.holds(*now)));
        assert!(moments.0.iter().any(|now| *now >= end && night.holds(*now)));
    }
}
