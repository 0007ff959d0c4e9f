//! Windows of time, and the `zone` of the folder that they are in.

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::taken;
use crate::policy::parse::Raw;
use crate::policy::pattern::Pattern;
use crate::policy::time_window::{DAYS, TimeWindow};
use crate::yaml::Node;
use crate::yaml::diagnostic::{Place, Problems, Span, nearest};
use crate::yaml::reader::{MAX_TEXT, NodeReader, listed};

/// The zone of a folder.
#[derive(Clone, Debug)]
pub(in crate::policy) enum Zone {
    Missing,
    /// An error that is already reported.
    Unread,
    Known(TimeZone),
}

impl Zone {
    /// Whether decisions read the zone database.
    pub(super) const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// Its name, if it is known.
    pub(in crate::policy) fn name(&self) -> Option<&str> {
        match self {
            Self::Known(zone) => zone.iana_name(),
            Self::Missing | Self::Unread => None,
        }
    }
}

/// The only `zone` of all files.
pub(super) fn zone(raws: &[Raw], has_gaps: bool, problems: &Problems) -> Zone {
    let mut found: Option<(Zone, Place)> = None;
    for raw in raws {
        let Some(node) = &raw.zone else {
            continue;
        };
        let yaml = NodeReader::new(&raw.source, problems);
        let place = yaml.place(node.span);
        match &found {
            Some((_, first)) => problems.push(taken("`zone`", "of the folder", place, first)),
            None => found = Some((named(&yaml, node), place)),
        }
    }
    match found {
        Some((zone, _)) => zone,
        None if has_gaps => Zone::Unread,
        None => Zone::Missing,
    }
}

fn named(yaml: &NodeReader<'_>, node: &Node) -> Zone {
    let Some(name) = yaml.ascii(node, "`zone`", MAX_TEXT) else {
        return Zone::Unread;
    };
    let database = TimeZoneDatabase::bundled();
    // The database takes any case; a name has one spelling here.
    if database.available().any(|known| known.as_str() == name)
        && let Ok(zone) = database.get(name)
    {
        return Zone::Known(zone);
    }
    let known: Vec<String> = database.available().map(|name| name.to_string()).collect();
    let is_same = |known: &&String| known.eq_ignore_ascii_case(name);
    let meant = known.iter().find(is_same).map(String::as_str);
    let help = match meant.or_else(|| nearest(name, known.iter().map(String::as_str))) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => {
            "write a name of the IANA time zone database, such as Europe/Berlin or UTC".to_owned()
        }
    };
    let message = format!("unknown time zone `{name}`");
    yaml.error_help("zone", node.span, message, Some(help));
    Zone::Unread
}

/// `{ days: [mon, fri], hours: "08:00-18:00" }`; at least one of the two.
pub(super) fn pattern(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    zone: &Zone,
) -> Option<Pattern> {
    let of = format!("the pattern of `{what}`");
    let Some(entries) = node.entries() else {
        let help = "write { days: [mon, tue, wed, thu, fri], hours: \"08:00-18:00\" }; for several windows, write several blocks";
        let message = format!("`{what}` is a mapping of `days` and `hours`");
        yaml.error_help("wrong-type", node.span, message, Some(help));
        return None;
    };
    let fields = yaml.fields(node, &of, &["days", "hours"])?;
    if entries.is_empty() {
        yaml.error("empty", node.span, format!("{of} is empty"));
        return None;
    }
    let days = match fields.get("days") {
        Some(node) => Some(days(yaml, node)?),
        None => None,
    };
    let hours = match fields.get("hours") {
        Some(node) => Some(hours(yaml, node)?),
        None => None,
    };
    let zone = match zone {
        Zone::Known(zone) => zone.clone(),
        Zone::Unread => return None,
        Zone::Missing => {
            let message = format!("`{what}` is local time, and the folder has no `zone`");
            let help = "add `zone: Europe/Berlin`, or your own, at the top of a file directly in the folder";
            yaml.error_help("zone", node.span, message, Some(help));
            return None;
        }
    };
    Some(Pattern::Time(TimeWindow { days, hours, zone }))
}

fn days(yaml: &NodeReader<'_>, node: &Node) -> Option<[bool; 7]> {
    let words = yaml.texts(node, "`days`")?;
    let mut days = [false; 7];
    let mut is_known = true;
    for word in &words {
        let at = DAYS.iter().position(|day| day == word);
        let Some(day) = at.and_then(|at| days.get_mut(at)) else {
            let start = word.get(..3).unwrap_or_default().to_ascii_lowercase();
            let help = match DAYS.iter().find(|day| **day == start) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the days are {}", listed(&DAYS)),
            };
            let message = format!("`{word}` is not a day");
            yaml.error_help("unknown-word", node.span, message, Some(help));
            is_known = false;
            continue;
        };
        *day = true;
    }
    if days.iter().all(|day| *day) {
        let message = "`days` has every day, which is no limit";
        let help = "leave the line out, or write the days that are meant";
        yaml.error_help("time-window", node.span, message, Some(help));
        return None;
    }
    is_known.then_some(days)
}

fn hours(yaml: &NodeReader<'_>, node: &Node) -> Option<(u16, u16)> {
    let text = yaml.text(node, "`hours`")?;
    let refuse = |span: Span, problem: &str, help: String| {
        let message = format!("`hours` is `{text}`, {problem}");
        yaml.error_help("time-window", span, message, Some(help));
        None
    };
    let read = text
        .split_once('-')
        .and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
    let Some((from, to)) = read else {
        let help = "for example \"08:00-18:00\"; the end of a day is 24:00";
        let problem = "expected two times of the day from 00:00 to 24:00";
        return refuse(node.span, problem, help.to_owned());
    };
    match (from, to) {
        (0, DAY) => {
            let help = "leave the line out, or write the hours that are meant";
            refuse(
                node.span,
                "which is the whole day and no limit",
                help.to_owned(),
            )
        }
        _ if from == to => {
            let help = "the second time is the first one that is not included";
            refuse(node.span, "which is no time at all", help.to_owned())
        }
        _ if from > to => {
            let (start, end) = text.split_once('-').unwrap_or_default();
            let help = format!(
                "a window ends at midnight: write two blocks, one with \"{start}-24:00\" and one with \"00:00-{end}\""
            );
            refuse(node.span, "which is across midnight", help)
        }
        hours => Some(hours),
    }
}

/// `HH:MM`, up to `24:00`, as a minute of the day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, most: u16| {
        let is_pair = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| is_pair);
        number.filter(|number| *number <= most)
    };
    let minute = number(hour, 24)?
        .checked_mul(60)?
        .checked_add(number(minute, 59)?)?;
    (minute <= DAY).then_some(minute)
}

/// Minutes of a day.
const DAY: u16 = 24 * 60;
