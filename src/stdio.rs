//! Checks whether a standard stream leads anywhere.

use std::io;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{self, SFlag, fstat};

/// Checks that output to this standard stream is not discarded.
///
/// For a closed stream (`>&-`) the standard library opens the null device for reading and writing,
/// before `main` runs. Some parent processes do the same on purpose, which looks identical; a
/// shell's `>/dev/null` is open for writing only.
///
/// # Errors
/// It is closed, or looks closed, or is open for reading only, where the standard library treats
/// every write as successful.
pub(crate) fn check_open(stream: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(stream, FcntlArg::F_GETFL)?);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err(io::Error::other(READ_ONLY));
    }
    let found = fstat(stream)?;
    let is_device = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    let is_null = is_device && found.st_rdev == stat::stat("/dev/null")?.st_rdev;
    if is_null && flags & OFlag::O_ACCMODE == OFlag::O_RDWR {
        return Err(io::Error::other(CLOSED));
    }
    Ok(())
}

const READ_ONLY: &str = "it is open for reading only; redirect it to where the output is wanted";
const CLOSED: &str = "it is closed, or the null device opened for reading and writing, which looks the same; redirect it to where the output is wanted";
