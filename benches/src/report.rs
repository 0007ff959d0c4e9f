//! The table: CPU time of each case, beside that of the ceiling.

use std::fmt::Write as _;
use std::time::Duration;

use crate::case::Case;

/// One measurement.
#[derive(Debug)]
pub(crate) struct Sample {
    /// CPU time of the server for one request, in microseconds.
    pub(crate) cpu: f64,
    pub(crate) times: Vec<Duration>,
    /// Resident bytes of the server afterwards.
    pub(crate) memory: u64,
}

#[derive(Debug)]
pub(crate) struct Report<'a> {
    cases: Vec<(&'a Case, Vec<Sample>)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(cases: &[&'a Case]) -> Self {
        let cases = cases.iter().map(|case| (*case, Vec::new()));
        Self {
            cases: cases.collect(),
        }
    }

    pub(crate) fn add(&mut self, index: usize, sample: Sample) {
        self.cases[index].1.push(sample);
    }

    /// In Markdown.
    pub(crate) fn table(&self) -> String {
        let ceiling = self.cases.iter().find(|(case, _)| case.is_ceiling());
        let ceiling = ceiling.map(|(_, samples)| spread(samples.iter().map(|sample| sample.cpu)));
        let ceiling = ceiling.unwrap_or([f64::NAN; 3]);
        let mut text = "| case | CPU µs per request: min, median, max | to the ceiling | p50, p99 ms | MB |\n| --- | --- | --- | --- | --- |\n".to_owned();
        for (case, samples) in &self.cases {
            let cpu = spread(samples.iter().map(|sample| sample.cpu));
            let times = samples.iter().flat_map(|one| one.times.iter().copied());
            let times = Times::new(times.collect());
            let memory = samples
                .iter()
                .map(|sample| sample.memory)
                .max()
                .unwrap_or(0);
            let _ignored = writeln!(
                text,
                "| {} | {:.1}, {:.1}, {:.1} | {:.2}, {:.2} | {:.2}, {:.2} | {} |",
                case.name,
                cpu[0],
                cpu[1],
                cpu[2],
                cpu[0] / ceiling[0],
                cpu[1] / ceiling[1],
                times.at(50),
                times.at(99),
                memory >> 20,
            );
        }
        text
    }
}

/// Sorted times.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// Milliseconds within which so many per cent ended.
    pub(crate) fn at(&self, share: usize) -> f64 {
        let index = (self.0.len() * share / 100).min(self.0.len().saturating_sub(1));
        let time = self.0.get(index);
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

/// Smallest, median and largest.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    [
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1)),
    ]
}
