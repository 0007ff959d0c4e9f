//! A window of local time: days of the week, and hours of the day.

use std::fmt;

use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// The pattern of `time`. An hour that the clocks repeat counts twice, and one that they skip does not
/// occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// From Monday on; `None` for every day.
    pub(super) days: Option<[bool; 7]>,
    /// Minutes of the day, the first included and the last excluded; `None` for the whole day.
    pub(super) hours: Option<(u16, u16)>,
    /// The zone of the folder, from the database that is compiled in.
    pub(super) zone: TimeZone,
}

impl TimeWindow {
    /// Whether it is that time. A time outside the calendar is in no window.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.local(at).is_some_and(|(day, minute)| {
            let is_day = |days: [bool; 7]| days.get(day).copied().unwrap_or_default();
            let is_hour = |(from, to)| from <= minute && minute < to;
            self.days.is_none_or(is_day) && self.hours.is_none_or(is_hour)
        })
    }

    /// The first whole minute from then on, within some days, that is in the window or is not.
    pub(super) fn next(&self, from: Timestamp, wanted: bool) -> Option<Timestamp> {
        let start = from.unix().checked_div(MINUTE)?.checked_mul(MINUTE)?;
        let minutes = (0..=MOST_MINUTES).map(|number| {
            let later = i64::from(number).saturating_mul(MINUTE);
            Timestamp::from_unix(start).plus(later)
        });
        let mut later = minutes.filter(|at| *at >= from);
        later.find(|at| self.holds(*at) == wanted)
    }

    /// The local time, such as `fri 17:59 (Europe/Berlin)`.
    #[must_use]
    pub fn shown(&self, at: Timestamp) -> String {
        let zone = self.zone.iana_name().unwrap_or("local time");
        match self.local(at) {
            Some((day, minute)) => {
                let day = DAYS.get(day).copied().unwrap_or_default();
                format!("{day} {} ({zone})", Minute(minute))
            }
            None => at.to_string(),
        }
    }

    /// The day from Monday on, and the minute of the day.
    fn local(&self, at: Timestamp) -> Option<(usize, u16)> {
        let at = jiff::Timestamp::from_second(at.unix()).ok()?;
        let local = self.zone.to_datetime(at);
        let day = usize::try_from(local.weekday().to_monday_zero_offset()).ok()?;
        let hour = u16::try_from(local.hour()).ok()?;
        let minute = u16::try_from(local.minute()).ok()?;
        Some((day, hour.checked_mul(60)?.checked_add(minute)?))
    }
}

/// As in a policy; without the zone, which the folder has.
impl fmt::Display for TimeWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        if let Some(days) = &self.days {
            let named = DAYS.iter().zip(days).filter(|(_, is_named)| **is_named);
            let named: Vec<_> = named.map(|(name, _)| *name).collect();
            lines.push(format!("days: [{}]", named.join(", ")));
        }
        if let Some((from, to)) = self.hours {
            lines.push(format!("hours: \"{}-{}\"", Minute(from), Minute(to)));
        }
        write!(f, "{{ {} }}", lines.join(", "))
    }
}

/// A minute of the day, as `08:00`.
struct Minute(u16);

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute) = (self.0.checked_div(60), self.0.checked_rem(60));
        let [hour, minute] = [hour, minute].map(Option::unwrap_or_default);
        write!(f, "{hour:02}:{minute:02}")
    }
}

/// The words for days, from Monday on.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const MINUTE: i64 = 60;
/// Every day of the week, and one more.
const MOST_MINUTES: u32 = 8 * 24 * 60;

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    fn window(zone: &str, days: Option<[bool; 7]>, hours: Option<(u16, u16)>) -> TimeWindow {
        let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
        TimeWindow { days, hours, zone }
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_unix(text.parse::<jiff::Timestamp>().unwrap().as_second())
    }

    /// T-293
    #[test]
    fn a_window_is_of_local_time_with_its_start_and_without_its_end() {
        let office = window("Europe/Berlin", None, Some((8 * 60, 18 * 60)));
        for (time, expected) in [
            // Winter: one hour before UTC.
            ("2027-01-15T06:59:59Z", false),
            ("2027-01-15T07:00:00Z", true),
            ("2027-01-15T16:59:59Z", true),
            ("2027-01-15T17:00:00Z", false),
            // Summer: two hours.
            ("2027-07-15T05:59:59Z", false),
            ("2027-07-15T06:00:00Z", true),
            ("2027-07-15T15:59:59Z", true),
            ("2027-07-15T16:00:00Z", false),
        ] {
            assert_eq!(office.holds(at(time)), expected, "{time}");
        }
        let mondays = window(
            "Pacific/Auckland",
            Some([true, false, false, false, false, false, false]),
            None,
        );
        for (time, expected) in [
            // Midnight there is 11:00 or 12:00 UTC of the day before.
            ("2027-01-03T10:59:59Z", false),
            ("2027-01-03T11:00:00Z", true),
            ("2027-01-04T10:59:59Z", true),
            ("2027-01-04T11:00:00Z", false),
        ] {
            assert_eq!(mondays.holds(at(time)), expected, "{time}");
        }
        let late = window("UTC", None, Some((23 * 60, 24 * 60)));
        assert!(late.holds(at("2027-01-01T23:59:59Z")));
        assert!(!late.holds(at("2027-01-02T00:00:00Z")));
        for time in [i64::MIN, i64::MAX, -377_705_116_801, 253_402_207_201] {
            assert!(!late.holds(Timestamp::from_unix(time)));
        }
    }

    /// T-293: on 2027-10-31 the hour from 2:00 comes twice in Berlin, on 2027-03-28 not at all.
    #[test]
    fn an_hour_that_is_repeated_counts_twice_and_a_skipped_one_does_not_occur() {
        let night = window("Europe/Berlin", None, Some((2 * 60, 3 * 60)));
        let minutes = |day: &str| {
            let start = at(day);
            let minutes = (0..24 * 60_i64).map(|minute| start.plus(minute * 60));
            minutes.filter(|at| night.holds(*at)).count()
        };
        assert_eq!(minutes("2027-10-30T12:00:00Z"), 120);
        assert_eq!(minutes("2027-03-27T12:00:00Z"), 0);
        assert_eq!(minutes("2027-06-15T12:00:00Z"), 60);
    }

    #[test]
    fn the_next_minute_in_or_out_of_a_window_is_found() {
        let friday = [false, false, false, false, true, false, false];
        let window = window("Europe/Berlin", Some(friday), Some((9 * 60, 10 * 60)));
        let now = at("2027-01-15T08:30:30Z");
        assert_eq!(window.shown(now), "fri 09:30 (Europe/Berlin)");
        assert_eq!(window.next(now, true), Some(at("2027-01-15T08:31:00Z")));
        assert_eq!(window.next(now, false), Some(at("2027-01-15T09:00:00Z")));
        let later = at("2027-01-15T09:00:00Z");
        assert_eq!(window.next(later, true), Some(at("2027-01-22T08:00:00Z")));
        assert_eq!(window.next(Timestamp::from_unix(i64::MAX), true), None);
    }
}
