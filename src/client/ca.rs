//! The database's CA as a file: libpq and most clients read it from nowhere else. It is public.

use std::io;
use std::path::PathBuf;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::file::{FileError, private_folder, read_private, write_private};
use super::source::Environment;

/// Writes the certificates into a folder of ours and says where. The name holds their hash, so that
/// the same certificates are one file and others never replace them.
///
/// # Errors
/// There is no folder that only we can write to.
pub fn ca_file(environment: &Environment, pem: &str) -> Result<PathBuf, FileError> {
    let folder = match environment.job_folder() {
        Some(folder) => folder.join("hallpass"),
        None => PathBuf::from(environment.get("TMPDIR").unwrap_or("/tmp"))
            .join(format!("hallpass-{}", nix::unistd::geteuid())),
    };
    private_folder(&folder)
        .map_err(|source| FileError::new(folder.clone(), "used as a folder", source))?;
    let hash = digest::digest(&digest::SHA256, pem.as_bytes());
    let path = folder.join(format!("ca-{}.pem", HEXLOWER.encode(hash.as_ref())));
    match read_private(&path, MAX_CA) {
        Ok(there) if there == pem.as_bytes() => {}
        Ok(_) | Err(_) if pem.len() > MAX_CA_LENGTH => {
            return Err(FileError::new(
                path,
                "written",
                io::ErrorKind::FileTooLarge.into(),
            ));
        }
        Ok(_) | Err(_) => write_private(&path, pem.as_bytes())?,
    }
    Ok(path)
}

const MAX_CA: u64 = 256 * 1024;
const MAX_CA_LENGTH: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_certificates_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let environment: Environment = [("TMPDIR", folder.path().to_str().unwrap())]
            .into_iter()
            .collect();
        let one = ca_file(&environment, "PEM").unwrap();
        assert_eq!(ca_file(&environment, "PEM").unwrap(), one);
        assert_eq!(std::fs::read_to_string(&one).unwrap(), "PEM");
        assert_ne!(ca_file(&environment, "other").unwrap(), one);
    }
}
