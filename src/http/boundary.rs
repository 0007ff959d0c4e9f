//! Where one request ends and the next begins, as far as the timers of a connection must know it.
//! Not: what a request says; hyper reads it, and is not told what is counted here.

/// Counts the bytes of a connection against the requests that hyper makes of them.
///
/// hyper reads ahead: the first bytes of a next request may lie in its buffer before the answer to
/// this one is written, and no further read would tell of them. Who sent half a head that way has
/// begun it, and is not merely silent (T-02).
#[derive(Debug, Default)]
pub(super) struct Boundary {
    line: Line,
    head: Head,
    /// Bytes of the current request's body that have not come yet.
    owed: u64,
    /// Bytes that came after the current head, of its body or of whatever follows.
    after: u64,
    /// Requests were sent ahead of their answers: where they end is not known from here on.
    is_lost: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Line {
    /// Nothing but empty lines so far: those before a request line do not count (RFC 9112 section
    /// 2.2).
    #[default]
    None,
    Empty,
    Text,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Head {
    #[default]
    Coming,
    /// All of it came; hyper has not made a request of it yet.
    Whole,
    /// Its request is being answered.
    Asked,
}

impl Boundary {
    /// These bytes came.
    pub(super) fn came(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.head == Head::Coming {
            let owed = usize::try_from(self.owed)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.owed = self.owed.saturating_sub(length(owed));
            bytes = bytes.get(owed..).unwrap_or_default();
            let Some(end) = bytes.iter().position(|byte| self.ends_head(*byte)) else {
                return;
            };
            self.head = Head::Whole;
            self.after = 0;
            bytes = bytes.get(end.saturating_add(1)..).unwrap_or_default();
        }
        self.after = self.after.saturating_add(length(bytes.len()));
    }

    /// hyper read a whole head, whose body has `body` bytes.
    pub(super) fn asked(&mut self, body: u64) {
        if self.head != Head::Whole {
            self.is_lost = true;
        }
        self.head = Head::Asked;
        self.owed = body;
    }

    /// The request was answered. True when a part of the next one is there already, or may be.
    pub(super) fn answered(&mut self) -> bool {
        let has_more = self.after > self.owed;
        self.is_lost |= has_more;
        self.owed = self.owed.saturating_sub(self.after);
        self.head = Head::Coming;
        self.line = Line::None;
        self.is_lost
    }

    /// An empty line ends a head, with or without the carriage return.
    fn ends_head(&mut self, byte: u8) -> bool {
        match (byte, &self.line) {
            (b'\n', Line::Empty) => return true,
            (b'\n', Line::Text) => self.line = Line::Empty,
            (b'\r' | b'\n', _) => {}
            _ => self.line = Line::Text,
        }
        false
    }
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";

    /// Whether bytes of a next request are there after each of these was answered; the bytes come
    /// cut at every place.
    fn begun(bytes: &str, body: u64) -> bool {
        let mut verdicts = (0..=HEAD.len()).map(|cut| {
            let mut boundary = Boundary::default();
            let (first, second) = bytes.split_at(cut);
            boundary.came(first.as_bytes());
            boundary.came(second.as_bytes());
            boundary.asked(body);
            boundary.answered()
        });
        let first = verdicts.next().unwrap();
        assert!(verdicts.all(|verdict| verdict == first), "{bytes:?}");
        first
    }

    /// T-02
    #[test]
    fn what_comes_after_a_request_is_the_next_one() {
        assert!(!begun(&format!("{HEAD}body"), 4));
        assert!(!begun(&format!("\r\n\n{HEAD}body"), 4));
        assert!(!begun(HEAD, 4));
        assert!(begun(&format!("{HEAD}bodyG"), 4));
        assert!(begun(&format!("{HEAD}G"), 0));
        assert!(!begun(&format!("{}body", HEAD.replace('\r', "")), 4));
    }

    /// T-02
    #[test]
    fn a_body_that_comes_late_is_no_next_request() {
        let mut boundary = Boundary::default();
        boundary.came(format!("{HEAD}bo").as_bytes());
        boundary.asked(4);
        assert!(!boundary.answered());
        boundary.came(b"dy");
        boundary.came(HEAD.as_bytes());
        boundary.asked(0);
        assert!(!boundary.answered());
    }

    /// T-02
    #[test]
    fn who_sends_ahead_is_never_taken_for_silent_again() {
        let mut boundary = Boundary::default();
        boundary.came(format!("{HEAD}body{HEAD}body").as_bytes());
        for _ in 0..2 {
            boundary.asked(4);
            assert!(boundary.answered());
        }
    }
}
