//! The folder of one job and one user: where steps leave what later ones need, and no one else may look.

use std::io;
use std::path::PathBuf;

use super::file::{FileError, private_folder, random_word};
use super::source::Environment;

/// The folder that every step of the job would use, whether it exists or not; `None` where no folder
/// is known to end with the job.
///
/// The user is part of its name: a job may run steps as several users (`sudo`), and on a shared
/// runner the folder of another user's job must not be in the way (T-136).
pub(super) fn of_job(environment: &Environment) -> Option<PathBuf> {
    environment.job_folder().map(|folder| folder.join(name()))
}

/// A folder that exists and is ours alone, for files that other programs are pointed to: the job's,
/// else one below the machine's temporary folder. Its path is text, since variables and connection
/// addresses name it. Where the name is taken by something else, the
/// folder gets a random one, since the job must not fail for it.
///
/// # Errors
/// No folder can be made anywhere.
pub(super) fn made(environment: &Environment) -> Result<PathBuf, FileError> {
    let temporary = environment.path("TMPDIR").unwrap_or_else(|| "/tmp".into());
    let mut problem = (temporary.clone(), io::ErrorKind::NotFound.into());
    let places = environment.job_folder().into_iter();
    let places = places.chain([temporary, "/tmp".into()]);
    for place in places.filter(|place| place.to_str().is_some()) {
        let usual = Ok(name());
        let other = random_word().map(|word| format!("{}-{word}", name()));
        for name in [usual, other] {
            let made = name.and_then(|name| {
                let folder = place.join(name);
                private_folder(&folder).map(|()| folder)
            });
            match made {
                Ok(folder) => return Ok(folder),
                Err(error) => problem = (place.clone(), error),
            }
        }
    }
    Err(FileError::new(problem.0, "used as a folder", problem.1))
}

fn name() -> String {
    format!("hallpass-{}", nix::unistd::geteuid())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn environment(job: &Path, temporary: &Path) -> Environment {
        [("HALLPASS_JOB_DIR", job), ("TMPDIR", temporary)]
            .into_iter()
            .collect()
    }

    /// T-136
    #[test]
    fn a_folder_that_is_not_ours_is_left_alone_and_another_one_made() {
        let (job, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let environment = environment(job.path(), elsewhere.path());
        let usual = of_job(&environment).unwrap();
        assert_eq!(made(&environment).unwrap(), usual);
        fs::set_permissions(&usual, fs::Permissions::from_mode(0o755)).unwrap();
        let other = made(&environment).unwrap();
        assert!(other.starts_with(job.path()) && other != usual);
        fs::remove_dir(&usual).unwrap();
        symlink(elsewhere.path(), &usual).unwrap();
        assert_ne!(made(&environment).unwrap(), usual);
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    /// T-147
    #[test]
    fn a_folder_whose_path_is_not_text_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let job = base.path().join(OsStr::from_bytes(b"job-\xff"));
        fs::create_dir(&job).unwrap();
        let folder = made(&environment(&job, base.path())).unwrap();
        assert_eq!(folder, base.path().join(name()));
        let folder = made(&environment(&job, &job)).unwrap();
        assert!(folder.starts_with("/tmp"), "{}", folder.display());
    }

    #[test]
    fn without_the_jobs_folder_there_is_the_machines() {
        let temporary = tempfile::tempdir().unwrap();
        let missing = temporary.path().join("missing");
        let folder = made(&environment(&missing, temporary.path())).unwrap();
        assert_eq!(folder, temporary.path().join(name()));
    }
}
