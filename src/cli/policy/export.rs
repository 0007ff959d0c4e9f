//! `policy diff --export`: the questions of a comparison as files, for another solver to answer.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::cli::{Failure, Terminal};
use crate::policy::diff::Diff;
use crate::policy::proof::export::{Compared, Question, Status};
use crate::text::{count, escape};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Export {
    /// SMT-LIB 2.6, which z3 and cvc5 read
    Smt2,
}

/// A folder that is new or empty, so that no file in it is lost.
pub(super) struct Folder<'a> {
    path: &'a Path,
    /// It was made for the export.
    is_new: bool,
    written: Vec<PathBuf>,
}

impl<'a> Folder<'a> {
    /// Makes the folder, unless there is an empty one.
    pub(super) fn new(path: &'a Path) -> Result<Self, Failure> {
        let shown = escape(&path.display().to_string());
        let wrong =
            |error: io::Error| Failure::Local(format!("cannot make the folder `{shown}`: {error}"));
        let is_new = match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Failure::Local(format!(
                        "the folder `{shown}` is not empty; name a new or an empty folder with \
                         `--export-to`"
                    )));
                }
                false
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(wrong)?;
                true
            }
            Err(error) => return Err(wrong(error)),
        };
        Ok(Self {
            path,
            is_new,
            written: Vec::new(),
        })
    }

    /// Writes a file for each question of the comparison. If one cannot be written, none is left.
    pub(super) fn write(
        mut self,
        compared: Compared<'_>,
        diff: &Diff,
        out: &mut Terminal,
    ) -> Result<(), Failure> {
        let renamed = diff.credentials.iter();
        let renamed = renamed.filter_map(|one| Some((one.name.as_str(), one.was.as_deref()?)));
        let renamed: HashMap<&str, &str> = renamed.collect();
        let mut answers = [0_usize; 3];
        let mut unsaid = BTreeSet::new();
        for credential in compared.new.credentials() {
            let name = credential.name.as_str();
            let same = compared.old.credential(name).map(|_| name);
            let was = same.or_else(|| renamed.get(name).copied());
            compared.questions(was, name, &mut |question: Question| {
                let position = match question.status {
                    Status::Sat => 0,
                    Status::Unsat => 1,
                    Status::Unknown(_) => 2,
                };
                if let Some(number) = answers.get_mut(position) {
                    *number = number.saturating_add(1);
                }
                self.add(&question)?;
                unsaid.extend(question.unsaid);
                Ok::<_, Failure>(())
            })?;
        }
        let [sat, unsat, unknown] = answers;
        let folder = escape(&self.path.display().to_string());
        let questions = count(self.written.len(), "question");
        out.error(&format!(
            "{questions} written to `{folder}`: {sat} sat, {unsat} unsat, {unknown} unknown"
        ));
        for condition in unsaid {
            out.error(&format!(
                "the export leaves a condition open, so `sat` is no answer where it stands: `{}`",
                escape(&condition)
            ));
        }
        Ok(())
    }

    fn add(&mut self, question: &Question) -> Result<(), Failure> {
        let number = self.written.len().saturating_add(1);
        let path = self.path.join(file_name(number, question));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path);
        let written = file.and_then(|mut file| {
            self.written.push(path.clone());
            file.write_all(question.text.as_bytes())
        });
        written.map_err(|error| {
            self.remove();
            let path = escape(&path.display().to_string());
            Failure::Local(format!(
                "cannot write `{path}`: {error}; no file of the export was kept"
            ))
        })
    }

    /// Removes what was written. What cannot be removed is left.
    fn remove(&self) {
        for path in &self.written {
            let _ = fs::remove_file(path);
        }
        if self.is_new {
            let _ = fs::remove_dir(self.path);
        }
    }
}

/// A number, the direction and the credential, as far as its name can be part of a file's.
fn file_name(number: usize, question: &Question) -> String {
    let harmless = |letter: char| {
        let is_harmless = letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if is_harmless { letter } else { '_' }
    };
    let credential = question.credential.chars().map(harmless);
    let credential: String = credential.take(LONGEST_NAME).collect();
    let direction = question.direction.name();
    format!("{number:04}-{direction}-{credential}.smt2")
}

const LONGEST_NAME: usize = 100;
