//! Where the targets of credentials lead, by the settings of both sides.

use std::path::{Path, PathBuf};

use super::Args;
use crate::cli::policy::git::git;
use crate::cli::policy::revision::Revision;
use crate::cli::{Failure, Terminal};
use crate::config::Settings;
use crate::credential::target::Destination;
use crate::file::read_text;
use crate::policy::diff::Destinations;
use crate::text::{escape, sha256};
use crate::yaml::scalar::scalar;

/// Where the credentials of both sides lead; `None` without `--settings`.
pub(super) fn destinations(
    args: &Args,
    old: &Revision,
    new: &Revision,
    out: &mut Terminal,
) -> Result<Option<[Destinations; 2]>, Failure> {
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
    Ok(Some([
        before.destinations(old, out)?,
        after.destinations(new, out)?,
    ]))
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

    fn destinations(&self, side: &Revision, out: &mut Terminal) -> Result<Destinations, Failure> {
        let shown = self.path.display().to_string();
        let name = self.path.file_name().unwrap_or_default();
        let text = self.text(Path::new(name)).map_err(|problem| {
            let shown = escape(&shown);
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
                .map(|(key, value)| (format!("target.{key}"), self.shown(value)));
            all.insert(credential.name.clone(), keys.collect());
        }
        Ok(all)
    }

    fn shown(&self, value: Destination) -> String {
        match value {
            Destination::Text(text) => text,
            Destination::Key(path) => scalar(&path.display().to_string()),
            Destination::Certificates(path) => {
                let name = scalar(&path.display().to_string());
                match self.text(&path) {
                    Ok(text) if path.is_relative() => format!("{name} ({})", sha256(&text)),
                    Ok(_) | Err(_) => name,
                }
            }
        }
    }

    /// A text file by its path from the folder of the settings.
    fn text(&self, path: &Path) -> Result<String, String> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        let Some(commit) = self.commit else {
            return read_text(&folder.join(path), LARGEST).map_err(|error| error.to_string());
        };
        let spec: PathBuf = path.components().collect();
        let spec = spec.to_str().ok_or("the path is not UTF-8")?;
        let spec = format!("{commit}:./{spec}");
        let blob = git(folder, &["cat-file", "blob", &spec]).ok_or("git has no such file")?;
        String::from_utf8(blob).map_err(|_| "it is not UTF-8 text".to_owned())
    }
}

/// More than any settings file needs.
const LARGEST: u64 = 1 << 20;
