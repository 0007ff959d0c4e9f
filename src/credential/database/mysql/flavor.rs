//! Which of the two a server is.

/// They have the same protocol, and differ in how accounts are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    MariaDb,
    MySql,
}

impl Flavor {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }

    /// By the text of `SELECT VERSION()`.
    #[must_use]
    pub fn of_version(version: &str) -> Self {
        if version.contains("MariaDB") {
            Self::MariaDb
        } else {
            Self::MySql
        }
    }

    /// By a major version: MySQL is at 8 and 9, MariaDB has been at 10 and later since 2014.
    #[must_use]
    pub const fn of_major(major: u32) -> Option<Self> {
        match major {
            8 | 9 => Some(Self::MySql),
            10..=12 => Some(Self::MariaDb),
            _ => None,
        }
    }

    /// Whether this version is supported: MySQL 8 and 9, MariaDB from 10.11 on.
    #[must_use]
    pub fn supports(self, version: &str) -> bool {
        let mut parts = version
            .split(['.', '-'])
            .map(|part| part.parse::<u32>().ok());
        let (major, minor) = (parts.next().flatten(), parts.next().flatten());
        match (self, major, minor) {
            (Self::MySql, Some(major), _) => matches!(major, 8 | 9),
            (Self::MariaDb, Some(10), Some(minor)) => minor >= 11,
            (Self::MariaDb, Some(major), _) => matches!(major, 11 | 12),
            (_, None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_its_version() {
        for (version, flavor, is_supported) in [
            ("10.11.19-MariaDB-0+deb12u1", Flavor::MariaDb, true),
            ("10.6.20-MariaDB-log", Flavor::MariaDb, false),
            ("11.8.9-MariaDB", Flavor::MariaDb, true),
            ("8.0.39", Flavor::MySql, true),
            ("9.7.4-2", Flavor::MySql, true),
            ("5.7.44-log", Flavor::MySql, false),
        ] {
            assert_eq!(Flavor::of_version(version), flavor, "{version}");
            assert_eq!(flavor.supports(version), is_supported, "{version}");
        }
    }
}
