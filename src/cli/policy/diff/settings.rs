//! What the settings of both sides say: where the targets of credentials lead, and which policies,
//! name and proxies the broker has.

use std::collections::BTreeSet;
use std::path::Path;

use super::Args;
use crate::cli::policy::git::git;
use crate::cli::policy::place;
use crate::cli::policy::revision::Revision;
use crate::cli::{Failure, Terminal};
use crate::config::Settings;
use crate::credential::target::Destination;
use crate::file::read_text;
use crate::policy::diff::Destinations;
use crate::text::{escape, sha256};
use crate::yaml::scalar::scalar;

/// What is compared of one settings file.
pub(super) struct Read {
    pub(super) destinations: Destinations,
    /// Values of settings by key.
    pub(super) values: Vec<(String, String)>,
}

/// The settings of both sides; `None` without `--settings`.
pub(super) fn read(
    args: &Args,
    old: &Revision,
    new: &Revision,
    out: &mut Terminal,
) -> Result<Option<[Read; 2]>, Failure> {
    let Some(path) = &args.settings else {
        return Ok(None);
    };
    let before = match (&args.old_settings, &old.commit) {
        (Some(path), _) => Place::of(path, None),
        (None, Some(commit)) => Place::of(path, Some(commit)),
        (None, None) => {
            let old = escape(&args.old);
            return Err(Failure::Usage(format!(
                "`{old}` is a folder, so its settings are in no revision; name them with `--old-settings`"
            )));
        }
    };
    let after = Place::of(path, new.commit.as_deref());
    Ok(Some([before.read(old, out)?, after.read(new, out)?]))
}

/// Why a file was not read.
enum Unread {
    /// It is reached through a link or a submodule, and never read.
    Link(String),
    Other(String),
}

/// Where a settings file is.
struct Place<'a> {
    path: &'a Path,
    /// The commit that has it; `None`: the disk.
    commit: Option<&'a str>,
}

impl<'a> Place<'a> {
    const fn of(path: &'a Path, commit: Option<&'a str>) -> Self {
        Self { path, commit }
    }

    fn read(&self, side: &Revision, out: &mut Terminal) -> Result<Read, Failure> {
        let shown = self.path.display().to_string();
        let name = self.path.file_name().unwrap_or_default();
        let text = self.text(Path::new(name)).map_err(|problem| {
            let shown = escape(&shown);
            let problem = match problem {
                Unread::Link(problem) => return Failure::Local(problem),
                Unread::Other(problem) => problem,
            };
            match self.commit {
                None => Failure::Local(format!("`{shown}` cannot be read: {problem}")),
                Some(commit) => Failure::Local(format!(
                    "commit {commit} has no settings `{shown}`: {problem}; name those of OLD with `--old-settings`"
                )),
            }
        })?;
        // No secret is read, and the paths stay as they are written.
        let no_secret = |_: &str| Some("not-read".to_owned());
        let settings = Settings::parse(&shown, text, Path::new(""), &no_secret);
        let settings = settings.map_err(|errors| {
            out.error_report(&errors.render(true));
            Failure::Findings(format!("the settings `{}` do not load", escape(&shown)))
        })?;
        let mut all = Destinations::new();
        for credential in side.set.credentials() {
            let target = credential.target().map(|name| settings.targets.get(name));
            let keys = match target {
                None => continue,
                Some(None) => Vec::new(),
                Some(Some(target)) => target.destination(credential),
            };
            let keys = keys
                .into_iter()
                .map(|(key, value)| Ok((format!("target.{key}"), self.shown(value)?)));
            let keys: Result<Vec<_>, Failure> = keys.collect();
            all.insert(credential.name.clone(), keys?);
        }
        Ok(Read {
            destinations: all,
            values: values(&settings),
        })
    }

    fn shown(&self, value: Destination) -> Result<String, Failure> {
        let path = match value {
            Destination::Text(text) => return Ok(text),
            Destination::Key(path) => return Ok(scalar(&path.display().to_string())),
            Destination::Certificates(path) => path,
        };
        let name = scalar(&path.display().to_string());
        if path.is_absolute() {
            return Ok(name);
        }
        match self.text(&path) {
            Ok(text) => Ok(format!("{name} ({})", sha256(&text))),
            Err(Unread::Link(problem)) => Err(Failure::Local(problem)),
            Err(Unread::Other(_)) => Ok(name),
        }
    }

    /// A text file by its path from the folder of the settings.
    fn text(&self, path: &Path) -> Result<String, Unread> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        let file = folder.join(path);
        let place = place::Place::of(&file).map_err(Unread::Link)?;
        let Some(commit) = self.commit else {
            return read_text(&file, LARGEST).map_err(|error| Unread::Other(error.to_string()));
        };
        let other = |problem: &str| Unread::Other(problem.to_owned());
        let place = place.ok_or_else(|| other("it is in no git repository"))?;
        place.check_at(commit).map_err(Unread::Link)?;
        let spec = format!("{commit}:{}", place.path);
        let blob = git(&place.top, &["cat-file", "blob", &spec]);
        let blob = blob.ok_or_else(|| other("git has no such file"))?;
        String::from_utf8(blob).map_err(|_| other("it is not UTF-8 text"))
    }
}

/// Another folder has other policies, minted tokens are accepted by the name of the broker, and a proxy
/// says which `source_ip` a job has.
fn values(settings: &Settings) -> Vec<(String, String)> {
    let proxies = settings.listen.proxies.iter();
    let proxies: BTreeSet<String> = proxies.map(ToString::to_string).collect();
    let proxies: Vec<String> = proxies.into_iter().collect();
    let mut values = vec![
        ("issuer".to_owned(), settings.issuer.clone()),
        (
            "policies".to_owned(),
            settings.policies.display().to_string(),
        ),
    ];
    if !proxies.is_empty() {
        values.push(("listen.proxies".to_owned(), proxies.join(", ")));
    }
    values
}

/// More than any settings file needs.
const LARGEST: u64 = 1 << 20;
