//! The rows of rosters that entries are made from.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::policy::PolicySet;
use crate::yaml::Place;
use crate::yaml::diagnostic::Row;

/// The rows of one roster that a change touches.
#[derive(Clone, Debug, Default)]
pub struct RosterRows {
    /// Where in the file each begins.
    pub touched: BTreeSet<usize>,
    pub of: usize,
}

/// Rows by the roster: its CSV file, or the policy file with its rows and its name.
pub type Rows = BTreeMap<String, RosterRows>;

/// The rosters of a set, by the file and position of each row.
pub(super) struct Index {
    rosters: Vec<(String, usize)>,
    rows: HashMap<String, HashMap<usize, usize>>,
}

impl Index {
    pub(super) fn of(set: &PolicySet) -> Self {
        let mut index = Self {
            rosters: Vec::new(),
            rows: HashMap::new(),
        };
        for (name, rows) in set.rosters() {
            let number = index.rosters.len();
            let mut of = 0_usize;
            let mut label = name.to_owned();
            for place in rows {
                let file = place.source().name();
                label = if Path::new(file).extension().is_some_and(|end| end == "csv") {
                    file.to_owned()
                } else {
                    format!("{file}: {name}")
                };
                let by_position = index.rows.entry(file.to_owned()).or_default();
                by_position.insert(place.span().start, number);
                of = of.saturating_add(1);
            }
            index.rosters.push((label, of));
        }
        index
    }

    /// The rows that the entries at these places are made from.
    pub(super) fn rows<'p>(&self, places: impl Iterator<Item = &'p Place>) -> Rows {
        let mut rows = Rows::new();
        for place in places {
            let Some(row) = place.row().map(Row::place) else {
                continue;
            };
            let start = row.span().start;
            let file = self.rows.get(row.source().name());
            let number = file.and_then(|file| file.get(&start));
            let Some((name, of)) = number.and_then(|number| self.rosters.get(*number)) else {
                continue;
            };
            let known = rows.entry(name.clone()).or_default();
            known.touched.insert(start);
            known.of = *of;
        }
        rows
    }
}
