//! The environment as it was when the command began.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The variables of one process. Read once; tests make their own.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's variables. Those that are not UTF-8 are left out: none of ours can be.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// A variable that is set and not empty: CI systems set what is not there to nothing.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
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

    /// A folder that lives as long as the job: the runner's own temporary folder, not `/tmp`.
    #[must_use]
    pub fn job_folder(&self) -> Option<PathBuf> {
        if let Some(folder) = self.get("HALLPASS_JOB_DIR") {
            return Some(folder.into());
        }
        if self.is_github() {
            return self.get("RUNNER_TEMP").map(PathBuf::from);
        }
        if self.is_gitlab() {
            // Made by the runner for file variables, outside of the checkout and of artifacts.
            return self
                .get("CI_PROJECT_DIR")
                .map(|folder| PathBuf::from(format!("{folder}.tmp")));
        }
        None
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
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

#[cfg(test)]
mod tests {
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
    }
}
