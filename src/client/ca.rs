//! The authorities of a database as a file: libpq and most clients read them from nowhere else. They
//! are public.

use std::path::PathBuf;

use aws_lc_rs::digest;
use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::CertificateDer;

use super::file::{FileError, read_private, replace_private};
use super::folder;
use super::source::Environment;
use crate::file::check_length;
use crate::tls::LARGEST_CA;

/// Writes the certificates into a folder of ours and says where. The name holds their hash, so that
/// the same certificates are one file and others never replace them.
///
/// # Errors
/// There is no folder that only we can write to.
pub fn ca_file(environment: &Environment, pem: &str) -> Result<PathBuf, FileError> {
    let folder = folder::made(environment)?;
    let hash = digest::digest(&digest::SHA256, pem.as_bytes());
    let path = folder.join(format!("ca-{}.pem", HEXLOWER.encode(hash.as_ref())));
    if read_private(&path, LARGEST_CA).is_ok_and(|there| there == pem.as_bytes()) {
        return Ok(path);
    }
    let written = check_length(pem.as_bytes(), LARGEST_CA)
        .and_then(|()| replace_private(&path, pem.as_bytes()));
    match written {
        Ok(()) => Ok(path),
        Err(error) => Err(FileError::new(path, "written", error)),
    }
}

/// The authorities for a database whose login names none, in PEM.
///
/// libpq looks in `~/.postgresql/root.crt` and nowhere else, and before 16 it knows no word for the
/// machine's own list. So we look where OpenSSL would (`SSL_CERT_FILE`, `SSL_CERT_DIR`, the usual
/// places); a machine without a list, such as a small container, gets the public one that the broker
/// checks the database with. `own` are added: those of `--ca`.
pub(super) fn roots(own: &[CertificateDer<'static>]) -> String {
    let found = rustls_native_certs::load_native_certs().certs;
    let public = if found.is_empty() {
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
    } else {
        &found
    };
    public.iter().chain(own).map(pem).collect()
}

fn pem(certificate: &CertificateDer<'static>) -> String {
    let body = BASE64.encode(certificate);
    let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn the_same_certificates_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let environment: Environment = [("TMPDIR", folder.path())].into_iter().collect();
        let one = ca_file(&environment, "PEM").unwrap();
        assert_eq!(ca_file(&environment, "PEM").unwrap(), one);
        assert_eq!(std::fs::read_to_string(&one).unwrap(), "PEM");
        assert_ne!(ca_file(&environment, "other").unwrap(), one);
    }

    #[test]
    fn written_certificates_are_read_back() {
        let own = CertificateDer::from(vec![7; 100]);
        let text = roots(std::slice::from_ref(&own));
        assert!(text.lines().all(|line| line.len() <= 64));
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let read = read.unwrap();
        assert_eq!(read.last(), Some(&own));
        assert!(read.len() > 100, "{} roots", read.len());
    }
}
