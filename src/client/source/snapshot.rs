//! The environment as it was when the command began.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The variables of one process. Read once; tests make their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// A variable that is set and not empty: CI systems set what is not there to nothing. One that
    /// is not UTF-8 counts as not set; names of files and folders are read with [`path`](Self::path).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_os(name).and_then(OsStr::to_str)
    }

    /// The same as bytes, since a path may hold any.
    #[must_use]
    pub fn get_os(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// A variable that names a file or a folder.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get_os(name).map(PathBuf::from)
    }

    /// The variable is set, if only to nothing.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(OsStr::new(name))
    }

    /// All of them, for a child.
    pub fn all(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// We run in GitHub Actions, or in what calls itself so.
    #[must_use]
    pub fn is_github(&self) -> bool {
        self.get("GITHUB_ACTIONS") == Some("true")
    }

    /// We run in GitLab CI.
    #[must_use]
    pub fn is_gitlab(&self) -> bool {
        self.get("GITLAB_CI") == Some("true")
    }

    /// Names the folder of the job, for this process and the command that it starts.
    pub fn set_job_folder(&mut self, folder: &Path) {
        self.0.insert(JOB_DIR.into(), folder.into());
    }

    /// Makes the folder of the job where a runner leaves that to the job.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_job_folder(&self) -> io::Result<()> {
        let folder = self.path(JOB_DIR).or_else(|| self.of_jenkins());
        folder.map_or(Ok(()), |folder| {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(folder)
        })
    }

    /// A folder that lives as long as the job: the runner's own temporary folder, not `/tmp`.
    #[must_use]
    pub fn job_folder(&self) -> Option<PathBuf> {
        if let Some(folder) = self.path(JOB_DIR) {
            return Some(folder);
        }
        if self.is_github() {
            return self.path("RUNNER_TEMP");
        }
        if self.is_gitlab() {
            // Made by the runner for file variables, outside of the checkout and of artifacts.
            let mut folder = self.get_os("CI_PROJECT_DIR")?.to_owned();
            folder.push(".tmp");
            return Some(folder.into());
        }
        if self.get("TF_BUILD") == Some("True") {
            // Azure Pipelines: the agent empties it after each job.
            return self.path("AGENT_TEMPDIRECTORY");
        }
        self.of_jenkins()
    }

    /// Outlives the build, and may not exist yet. It is not archived and not part of the checkout.
    fn of_jenkins(&self) -> Option<PathBuf> {
        self.get("JENKINS_URL")
            .and_then(|_| self.path("WORKSPACE_TMP"))
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// Names only: any value may be a secret (T-92).
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const JOB_DIR: &str = "HALLPASS_JOB_DIR";

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    /// T-92
    #[test]
    fn debug_shows_no_values() {
        let environment: Environment = [("HALLPASS_ID_TOKEN", "canary")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), r#"{"HALLPASS_ID_TOKEN"}"#);
    }

    #[test]
    fn an_empty_variable_is_none() {
        let environment: Environment = [("A", "")].into_iter().collect();
        assert_eq!(environment.get("A"), None);
        assert_eq!(environment.path("A"), None);
        assert!(environment.has("A"));
    }

    #[test]
    fn a_path_may_hold_any_byte() {
        let folder = OsStr::from_bytes(b"/tmp/\xff");
        let environment: Environment = [(OsStr::new("HALLPASS_JOB_DIR"), folder)]
            .into_iter()
            .collect();
        assert_eq!(environment.get("HALLPASS_JOB_DIR"), None);
        assert_eq!(environment.job_folder(), Some(folder.into()));
    }
}
