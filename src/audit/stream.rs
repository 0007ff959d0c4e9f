//! Writes events to a byte stream that may accept part of a write.

use std::io::{self, Write};

use super::AuditLine;

/// Writes events to a stream that may accept only a part of one.
///
/// The stream never gets the same bytes twice: the rest of an event that it accepted in part is
/// written first the next time.
#[derive(Debug, Default)]
pub(super) struct LineWriter {
    /// The part of the next event that the stream has.
    begun: Vec<u8>,
}

impl LineWriter {
    /// The part of the next event that the stream has.
    pub(super) fn begun(&self) -> &[u8] {
        &self.begun
    }

    /// As after a write that the stream accepted in part.
    #[cfg(test)]
    pub(super) fn begin(&mut self, begun: &[u8]) {
        self.begun = begun.to_vec();
    }

    /// Starts over with a stream that has no part of an event.
    pub(super) fn restart(&mut self) {
        self.begun.clear();
    }

    /// Writes events from the front of `lines`, and returns how many the stream has in full.
    pub(super) fn write(
        &mut self,
        lines: &[AuditLine],
        stream: &mut dyn Write,
    ) -> io::Result<usize> {
        let mut bytes = Vec::new();
        for line in lines {
            if bytes.len() >= LARGEST_WRITE {
                break;
            }
            bytes.extend_from_slice(&line.text);
        }
        let mut written = self.begun.len();
        let mut failure = None;
        while let Some(rest) = bytes.get(written..)
            && !rest.is_empty()
        {
            match stream.write(rest) {
                Ok(0) => failure = Some(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => written = written.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(error),
            }
            if failure.is_some() {
                break;
            }
        }
        let mut taken = 0_usize;
        let mut end = 0_usize;
        for line in lines {
            let next = end.saturating_add(line.text.len());
            if next > written {
                break;
            }
            end = next;
            taken = taken.saturating_add(1);
        }
        self.begun = bytes.get(end..written).unwrap_or_default().to_vec();
        match failure {
            Some(error) if taken == 0 => Err(error),
            Some(_) | None => Ok(taken),
        }
    }
}

/// Bytes. A long backlog is written in pieces, so that it is not copied again after each failure.
const LARGEST_WRITE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    /// Accepts so many bytes, then fails.
    struct Limited {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Limited {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::Error::other("disk full"));
            }
            self.room -= count;
            self.bytes.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// T-89
    #[test]
    fn an_event_accepted_in_part_is_completed_and_not_repeated() {
        let three = lines(1, b"one\ntwo\nthree\n");
        let mut stream = Limited {
            room: 6,
            bytes: Vec::new(),
        };
        let mut writer = LineWriter::default();
        assert_eq!(writer.write(&three, &mut stream).unwrap(), 1);
        assert_eq!(writer.begun(), b"tw");
        writer.write(&three[1..], &mut stream).unwrap_err();
        stream.room = 1;
        writer.write(&three[1..], &mut stream).unwrap_err();
        assert_eq!(writer.begun(), b"two");
        stream.room = 100;
        assert_eq!(writer.write(&three[1..], &mut stream).unwrap(), 2);
        assert_eq!(stream.bytes, b"one\ntwo\nthree\n");
        assert_eq!(writer.begun(), b"");
    }

    #[test]
    fn a_long_backlog_is_written_in_pieces() {
        let text = [&vec![b'x'; LARGEST_WRITE / 2][..], b"\n"].concat();
        let many = lines(1, &text.repeat(4));
        let mut bytes = Vec::new();
        let mut writer = LineWriter::default();
        assert_eq!(writer.write(&many, &mut bytes).unwrap(), 2);
        assert_eq!(writer.write(&many[2..], &mut bytes).unwrap(), 2);
        assert_eq!(bytes, text.repeat(4));
    }
}
