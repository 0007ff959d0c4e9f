//! `Secret<T>`: readable only through `expose()`. It has no `Display` and no `Serialize`, and its
//! `Debug` is redacted.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::{fmt, fs, io};

use aws_lc_rs::constant_time;
use serde::{Deserialize, Deserializer};
use zeroize::zeroize_bytes;

use crate::file::read_text;

pub(crate) mod file;

/// A value that must not be printed, and is wiped from memory when dropped.
///
/// Reading it takes a call to [`expose`](Self::expose), so a search for that name finds every
/// possible leak.
pub struct Secret<T: Wipe>(T);

impl<T: Wipe> Secret<T> {
    /// Takes ownership of the secret.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The secret itself. Never log, format or store what this returns.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Wipe + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Wipe> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

/// There is no `Serialize`; output goes through [`expose`](Secret::expose).
impl<'de, T: Wipe + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl<T: Wipe> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Wipe> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.wipe();
    }
}

/// What a [`Secret`] can be made of. `Zeroize` writes byte by byte; a token of two kilobytes would
/// cost two percent of an exchange.
pub trait Wipe {
    /// Overwrites the memory that the value has, spare capacity included.
    fn wipe(&mut self);
}

impl<const N: usize> Wipe for [u8; N] {
    fn wipe(&mut self) {
        zeroize_bytes(self);
    }
}

impl Wipe for Vec<u8> {
    fn wipe(&mut self) {
        self.resize(self.capacity(), 0);
        zeroize_bytes(self);
    }
}

impl Wipe for String {
    fn wipe(&mut self) {
        std::mem::take(self).into_bytes().wipe();
    }
}

/// Where a secret of the settings is stored. Never in the settings themselves.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A file, read at each use, so a rotated secret is picked up. One line end at the end is
    /// removed.
    File(PathBuf),
    /// The value of an environment variable, read once at start. One line end at the end is
    /// removed.
    Value(Secret<String>),
}

impl SecretSource {
    /// Reads the current secret.
    ///
    /// # Errors
    /// The file, which the error names, cannot be read or is not UTF-8.
    pub fn read(&self) -> io::Result<Secret<String>> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File(path) => {
                let mut text = read_text(path, LONGEST_SECRET).map_err(|error| {
                    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
                })?;
                text.truncate(without_line_end(&text).len());
                Ok(Secret::new(text))
            }
        }
    }
}

impl SecretSource {
    /// What changes when another secret is put in its place; `None` for a value, and for a file that
    /// cannot be looked at now.
    pub(crate) fn stamp(&self) -> Option<SecretStamp> {
        let Self::File(path) = self else {
            return None;
        };
        let metadata = fs::metadata(path).ok()?;
        Some(SecretStamp {
            file: (metadata.dev(), metadata.ino(), metadata.size()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// See [`SecretSource::stamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretStamp {
    file: (u64, u64, u64),
    changed: (i64, i64),
}

/// Removes one line end (LF, CRLF or CR), as an editor or `echo` adds it.
pub(crate) fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl Secret<String> {
    /// Whether both are the same text, compared in constant time (T-95).
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let (one, two) = (self.expose().as_bytes(), other.expose().as_bytes());
        constant_time::verify_slices_are_equal(one, two).is_ok()
    }
}

/// Compares the location; values are compared in constant time (T-95).
impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(two)) => one == two,
            (Self::Value(one), Self::Value(two)) => one.is_same(two),
            (Self::File(_), Self::Value(_)) | (Self::Value(_), Self::File(_)) => false,
        }
    }
}

impl Eq for SecretSource {}

/// Bytes of a secret of the settings.
const LONGEST_SECRET: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Asks the compiler whether a type has an equality that ends at the first difference: with one,
    /// both implementations fit, and `what` is ambiguous.
    trait Comparison<Of> {
        const IS_LEFT_TO_THE_BACKEND: bool = true;
    }
    impl<T> Comparison<()> for T {}
    struct Own;
    impl<T: PartialEq> Comparison<Own> for T {}

    /// T-95
    #[test]
    fn no_secret_has_an_equality_of_its_own() {
        let secrets = [
            <Secret<String> as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <Secret<[u8; 32]> as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <crate::rootkey::RootKey as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <crate::rootkey::RootKeys as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <crate::replay::IdempotencyKey as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <crate::token::SubjectToken as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
            <crate::credential::Members as Comparison<_>>::IS_LEFT_TO_THE_BACKEND,
        ];
        assert!(secrets.into_iter().all(|left| left));
    }

    /// T-95
    #[test]
    fn a_secret_of_the_settings_is_the_same_only_if_all_of_it_is() {
        let value = |text: &str| SecretSource::Value(Secret::new(text.to_owned()));
        assert_eq!(value("abc"), value("abc"));
        for other in ["", "ab", "abd", "abcd", "Abc"] {
            assert_ne!(value("abc"), value(other));
        }
        assert_ne!(value("abc"), SecretSource::File(PathBuf::from("abc")));
    }

    #[test]
    fn one_line_end_of_any_system_is_no_part_of_a_secret() {
        for (text, expected) in [
            ("pass", "pass"),
            ("pass\n", "pass"),
            ("pass\r\n", "pass"),
            ("pass\r", "pass"),
            ("pass\n\n", "pass\n"),
            ("pass \r\n", "pass "),
            ("pa\rss", "pa\rss"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("secret");
            fs::write(&file, text).unwrap();
            let secret = SecretSource::File(file).read().unwrap();
            assert_eq!(secret.expose(), expected, "{text:?}");
        }
    }

    /// T-92
    #[test]
    fn a_wiped_value_has_no_byte_left() {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(b"canary-5d1f4c7e");
        bytes.truncate(3);
        bytes.wipe();
        assert_eq!(bytes, [0; 64]);
        let mut array = *b"canary-5d1f4c7e";
        array.wipe();
        assert_eq!(array, [0; 15]);
    }

    /// T-92
    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = Secret::new("canary-5d1f4c7e".to_owned());
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(format!("{:?}", Some(&secret)), "Some([secret])");
    }
}
