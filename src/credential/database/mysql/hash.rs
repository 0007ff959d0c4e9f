//! What the server gets in place of a password, so that no log of its own has it (T-92).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::rand;
use data_encoding::HEXUPPER;

use super::flavor::Flavor;
use crate::credential::database::DatabaseError;
use crate::secret::Secret;

/// The hash of a password as this kind of server keeps it, as the installed procedures take it.
///
/// MariaDB gets a `mysql_native_password` hash, which every client can log in with. It is SHA-1 twice and
/// without salt, so it protects random passwords of 192 bits only, as ours are. MySQL 8 and 9 get
/// `caching_sha2_password`, in hexadecimal digits.
///
/// # Errors
/// The random source gives nothing.
pub fn password_hash(flavor: Flavor, password: &Secret<String>) -> Result<String, DatabaseError> {
    match flavor {
        Flavor::MariaDb => Ok(native(password.expose().as_bytes())),
        Flavor::MySql => {
            let mut salt = [0; SALT_BYTES];
            rand::fill(&mut salt).map_err(|_| {
                DatabaseError::Unreachable("the system gives no random numbers".to_owned())
            })?;
            // `$` separates the parts of a hash, and NUL ends it.
            let salt = salt.map(|byte| {
                let at = usize::from(byte & 63);
                CRYPT_DIGITS.get(at).copied().unwrap_or(b'.')
            });
            Ok(HEXUPPER.encode(caching_sha2(password.expose().as_bytes(), &salt, 5).as_bytes()))
        }
    }
}

fn native(password: &[u8]) -> String {
    let once = digest(&SHA1_FOR_LEGACY_USE_ONLY, password);
    let twice = digest(&SHA1_FOR_LEGACY_USE_ONLY, once.as_ref());
    format!("*{}", HEXUPPER.encode(twice.as_ref()))
}

/// `$A$005$` for 5,000 rounds, the salt and the digest: SHA-crypt with SHA-256 (Drepper, "Unix crypt using SHA-256 and SHA-512")
/// over a salt of 20 bytes, which is longer than that text allows.
fn caching_sha2(password: &[u8], salt: &[u8; SALT_BYTES], thousands: u32) -> String {
    let mut inner = Context::new(&SHA256);
    for part in [password, salt, password] {
        inner.update(part);
    }
    let inner = inner.finish();
    let repeated = |hash: &[u8], length: usize| -> Vec<u8> {
        hash.iter().copied().cycle().take(length).collect()
    };
    let mut outer = Context::new(&SHA256);
    outer.update(password);
    outer.update(salt);
    outer.update(&repeated(inner.as_ref(), password.len()));
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 {
            inner.as_ref()
        } else {
            password
        });
        bits >>= 1;
    }
    let mut hash = outer.finish();
    let mut passwords = Context::new(&SHA256);
    for _ in 0..password.len() {
        passwords.update(password);
    }
    let passwords = repeated(passwords.finish().as_ref(), password.len());
    let mut salts = Context::new(&SHA256);
    let first = hash.as_ref().first().copied().unwrap_or(0);
    for _ in 0..usize::from(first).saturating_add(16) {
        salts.update(salt);
    }
    let salts = repeated(salts.finish().as_ref(), SALT_BYTES);
    for round in 0..thousands.saturating_mul(1_000) {
        let mut next = Context::new(&SHA256);
        let is_odd = round & 1 == 1;
        next.update(if is_odd { &passwords } else { hash.as_ref() });
        if round % 3 != 0 {
            next.update(&salts);
        }
        if round % 7 != 0 {
            next.update(&passwords);
        }
        next.update(if is_odd { hash.as_ref() } else { &passwords });
        hash = next.finish();
    }
    let mut text = format!("$A${thousands:03X}$");
    text.extend(salt.iter().map(|byte| char::from(*byte)));
    let byte = |at: usize| hash.as_ref().get(at).copied().map_or(0, u32::from);
    for [high, middle, low] in TRIPLES {
        let group = byte(high) << 16 | byte(middle) << 8 | byte(low);
        push_digits(&mut text, group, 4);
    }
    push_digits(&mut text, byte(31) << 8 | byte(30), 3);
    text
}

/// The lowest six bits first.
fn push_digits(text: &mut String, mut bits: u32, digits: usize) {
    for _ in 0..digits {
        let at = usize::try_from(bits & 63).unwrap_or(0);
        text.push(char::from(CRYPT_DIGITS.get(at).copied().unwrap_or(b'.')));
        bits >>= 6;
    }
}

const SALT_BYTES: usize = 20;
const CRYPT_DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The order in which SHA-crypt writes the bytes of the digest.
const TRIPLES: [[usize; 3]; 10] = [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// As `SELECT PASSWORD('hallpass')` of MariaDB 10.11 gives it.
    #[test]
    fn mariadb_keeps_the_password_in_the_form_of_its_own_function() {
        let hash = password_hash(Flavor::MariaDb, &Secret::new("hallpass".to_owned())).unwrap();
        assert_eq!(hash, "*2383F6E9F802F61DB09B46EFDEEF23669CF91227");
    }

    /// As MySQL 9.7.4 wrote it for `CREATE USER … IDENTIFIED BY 'correct horse battery staple'`.
    #[test]
    fn mysql_keeps_the_password_in_the_form_of_its_own_plugin() {
        let salt = b"w%]rDT2l\x1b/m@\x5c4\x1d\x22i\x14\x17l";
        assert_eq!(
            caching_sha2(b"correct horse battery staple", salt, 10),
            "$A$00A$w%]rDT2l\x1b/m@\x5c4\x1d\x22i\x14\x17lw0np3F4NPvx3wS37.6CsHFWK5I3dxIs7VZBzL9LtOL4"
        );
    }

    #[test]
    fn a_hash_of_mysql_is_what_the_installed_procedure_takes() {
        let hash = password_hash(Flavor::MySql, &Secret::new("x".to_owned())).unwrap();
        assert_eq!(hash.len(), 140);
        assert!(hash.starts_with("24412430303524"));
    }
}
