//! Shapes that two readers of HTTP take for different requests: one file each in `vectors/http`.
//!
//! A file says why, the `status` we answer with (`none`: no answer at all), and what becomes of a
//! request that follows on the same connection: `after: nothing` or `after: answered`. After an empty
//! line stand the bytes: line ends of the file do not count, `\r`, `\n`, `\t`, `\\` and `\xNN` do, and
//! `\repeat{a,9}` stands for nine times `a`.

use std::fs;
use std::path::Path;

use crate::support::TestBroker;
use crate::support::client::{Answer, send};

/// What follows each shape: nobody but this asks for the key set.
const SECOND: &[u8] =
    b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const ANSWER_TO_SECOND: &str = "\"keys\":";

struct Shape {
    name: String,
    status: Option<u16>,
    is_answered_after: bool,
    bytes: Vec<u8>,
}

impl Shape {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/http");
        let mut shapes: Vec<Self> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| Self::read(&entry.unwrap().path()))
            .collect();
        shapes.sort_by(|one, other| one.name.cmp(&other.name));
        shapes
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let (head, bytes) = text.split_once("\n\n").unwrap();
        let field = |key: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_else(|| panic!("{name} has no `{key}`"))
        };
        assert!(field("why: ").len() > 10, "{name} does not say why");
        Self {
            status: match field("status: ") {
                "none" => None,
                status => Some(status.parse().unwrap()),
            },
            is_answered_after: match field("after: ") {
                "nothing" => false,
                "answered" => true,
                other => panic!("{name}: after: {other}"),
            },
            bytes: unescape(bytes),
            name,
        }
    }

    /// What is wrong with what came back.
    fn problem(&self, text: &str) -> Option<String> {
        let text = text.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        let status = Answer::parse(&text).map(|answer| answer.status);
        let answers = text.matches("HTTP/1.").count();
        let was_answered = text.contains(ANSWER_TO_SECOND);
        let wanted = usize::from(self.status.is_some()) + usize::from(self.is_answered_after);
        let fits =
            status == self.status && was_answered == self.is_answered_after && answers == wanted;
        (!fits).then(|| format!("{}: {status:?}, {answers} answers: {text}", self.name))
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let text = text.replace('\n', "");
    let mut bytes = Vec::new();
    let mut rest = text.as_str();
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (kind, after) = escaped.split_at(1);
        rest = after;
        match kind {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "\\" => bytes.push(b'\\'),
            "x" => {
                let (digits, after) = rest.split_at(2);
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = after;
            }
            _ => {
                let (repeat, after) = escaped.split_once('}').unwrap();
                let (what, count) = repeat
                    .strip_prefix("repeat{")
                    .unwrap()
                    .split_once(',')
                    .unwrap();
                bytes.extend(what.repeat(count.parse().unwrap()).into_bytes());
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

async fn problems(broker: &TestBroker, with: impl Fn(&Shape) -> Vec<u8>) -> Vec<String> {
    let mut problems = Vec::new();
    for shape in Shape::all() {
        let text = send(broker.public(), with(&shape)).await;
        problems.extend(shape.problem(&text));
    }
    problems
}

/// T-04, T-08
#[tokio::test]
async fn ambiguous_requests_are_refused_and_what_follows_is_never_answered() {
    assert!(Shape::all().len() > 90);
    let broker = TestBroker::start().await;
    let problems = problems(&broker, |shape| [&shape.bytes, SECOND].concat()).await;
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

/// T-08
#[tokio::test]
async fn nothing_is_read_after_a_request_with_a_transfer_coding() {
    let broker = TestBroker::start().await;
    for length in ["", "Content-Length: 5\r\n"] {
        let first = format!(
            "POST /token HTTP/1.1\r\nHost: x\r\n{length}Transfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n0\r\n\r\n"
        );
        let text = send(broker.public(), [first.as_bytes(), SECOND].concat()).await;
        let answer = Answer::parse(&text).unwrap();
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
}
