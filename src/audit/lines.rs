//! Reads the lines of an audit file one by one, in bounded memory.

use std::io::{self, BufRead, Read as _};

use super::LONGEST_LINE;

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Newline,
    /// The file ended before the newline.
    Cut,
    /// It is longer than an event can be; the rest of it was skipped.
    TooLong,
}

/// Reads the next line into `line`, without its newline. `None` at the end of the file.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<Ending>> {
    line.clear();
    let longest = u64::try_from(LONGEST_LINE).unwrap_or(u64::MAX);
    let limit = longest.saturating_add(1);
    if file.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    Ok(Some(if line.last() == Some(&b'\n') {
        line.pop();
        Ending::Newline
    } else if line.len() > LONGEST_LINE {
        skip_line(file)?;
        Ending::TooLong
    } else {
        Ending::Cut
    }))
}

fn skip_line(file: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |at| at.saturating_add(1));
        file.consume(length);
        if end.is_some() {
            return Ok(());
        }
    }
}
