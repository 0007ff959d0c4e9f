//! The instructions of one exchange, counted by callgrind: the figure that no other load disturbs.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Result;
use crate::broker::Bench;
use crate::case;
use crate::ci::Flaw;
use crate::load::{self, kept};

/// Counts them, prints the difference to the last count that was recorded, and records this one if
/// `record`.
pub(crate) fn run(bench: &Bench, out: &Path, record: bool) -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("\nskipped, since `valgrind` is missing: instructions of an exchange");
        return Ok(());
    }
    let tokens = (0..MORE).map(|number| bench.ci.token(number, Flaw::None));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    // What more requests take more, so that the start is not counted.
    let few = count(bench, &tokens[..FEW], out)?;
    let more = count(bench, &tokens, out)?;
    let found = (more - few) / (MORE - FEW) as u64;
    println!(
        "\n{found} instructions per exchange{}",
        beside_the_last(found)
    );
    if record {
        let commit = commit()?;
        let mut file = OpenOptions::new().append(true).open(RECORDED)?;
        writeln!(file, "{commit} {found}")?;
    }
    Ok(())
}

/// The instructions of a run with these tokens.
fn count(bench: &Bench, tokens: &[String], out: &Path) -> Result<u64> {
    let file = std::path::absolute(out)?;
    let file = format!("--callgrind-out-file={}", file.display());
    let under = ["valgrind", "--tool=callgrind", &file];
    let running = bench.start(case::FEW_POLICIES, None, &under)?;
    let request = |number: usize| {
        let token = &tokens[number];
        Ok(load::form("/token", token, "&audience=deploy-api", true))
    };
    load::send(&running.target, kept(8), tokens.len(), &request, 200)?;
    running.process.stop()?;
    let text = fs::read_to_string(out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
}

fn beside_the_last(found: u64) -> String {
    let recorded = fs::read_to_string(RECORDED).unwrap_or_default();
    let last = recorded.lines().rfind(|line| !line.starts_with('#'));
    let Some((commit, count)) = last.and_then(|line| line.rsplit_once(' ')) else {
        return format!(", and `{RECORDED}` has none to compare with");
    };
    let Ok(count) = count.parse::<f64>() else {
        return format!(", and `{RECORDED}` does not end with a number");
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let change = (found as f64 / count - 1.0) * 100.0;
    format!(", {change:+.1} % beside the {count} of {commit}")
}

/// Day and hash of the last commit.
fn commit() -> Result<String> {
    let mut git = Command::new("git");
    let said = git.args(["log", "-1", "--format=%cs %h"]).output()?.stdout;
    Ok(String::from_utf8(said)?.trim().to_owned())
}

/// One line each: day and hash of the commit, and the count.
const RECORDED: &str = "benches/instructions.txt";
const FEW: usize = 100;
const MORE: usize = 600;
