//! `--input`: what a request brings for the kind of its credential.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Failure;
use super::broker::quoted;
use crate::client::read_bounded;
use crate::credential::kind::{self, KINDS};
use crate::file::read_up_to;
use crate::secret::without_line_end;
use crate::text::{escape, is_printable};

/// The option `--input`.
#[derive(Debug, clap::Args)]
pub(super) struct InputArgs {
    /// An input that the credential's kind defines, as NAME=VALUE or NAME=@FILE; may be repeated
    #[arg(long = "input", value_name = "NAME=VALUE")]
    inputs: Vec<String>,
}

impl InputArgs {
    /// The inputs by name, with the files read.
    ///
    /// # Errors
    /// No kind takes an input of that name, it is given twice, or its file cannot be read.
    pub(super) fn read(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut inputs = BTreeMap::new();
        for text in &self.inputs {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::Usage(format!(
                    "`--input {}` has no `=`; write NAME=VALUE or NAME=@FILE",
                    escape(text)
                ))
            })?;
            // The token endpoint ignores parameters that it does not know (RFC 6749 section 3.2), so
            // a misspelt name would be lost.
            let input = kind::input(name).ok_or_else(|| unknown(name))?;
            let value = match value.strip_prefix('@') {
                Some(path) => read(Path::new(path))?,
                None => value.to_owned(),
            };
            let wrong = |problem: &str| Failure::Usage(format!("input `{name}` {problem}"));
            if value.is_empty() || !is_printable(&value) {
                return Err(wrong("must be one line of printable ASCII, and not empty"));
            }
            input
                .check_value(&value)
                .map_err(|problem| wrong(&problem))?;
            if inputs.insert(name.to_owned(), value).is_some() {
                return Err(wrong("is given twice"));
            }
        }
        Ok(inputs)
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = read_bounded(path, LONGEST, PATIENCE)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("`{}` is not text in UTF-8", path.display())))?;
    Ok(without_line_end(&text).to_owned())
}

/// What a file holds, or standard input where it is called `-`.
///
/// # Errors
/// It cannot be read within `patience`, or is longer than `limit`.
pub(super) fn read_input(path: &Path, limit: u64, patience: Duration) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return Ok(read_bounded(path, limit, patience)?);
    }
    let read = read_up_to(io::stdin().lock(), limit);
    read.map_err(|error| Failure::Local(format!("standard input cannot be read: {error}")))
}

fn unknown(name: &str) -> Failure {
    let inputs = KINDS.iter().flat_map(|kind| kind.inputs);
    let names: Vec<String> = inputs.map(|input| format!("`{}`", input.name)).collect();
    let known = if names.is_empty() {
        "no kind of this version takes inputs".to_owned()
    } else {
        format!("the inputs are {}", names.join(", "))
    };
    Failure::Usage(format!(
        "no kind of credential takes input {}; {known}",
        quoted(name)
    ))
}

const LONGEST: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
