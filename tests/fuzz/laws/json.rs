//! Strict JSON: what is accepted means one thing, and another parser reads the same.

use hallpass::token::json::{self, JsonProblem, Limits, Number, Object, Value};

use super::text;

pub(crate) fn holds(input: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(input);
    match json::parse_object(input, &Limits::default()) {
        Ok(object) => accepted(input, &object, theirs),
        Err(error) => {
            assert!(error.offset <= input.len(), "{error}");
            if let Ok(theirs) = theirs {
                is_a_rule_of_ours(error.problem, &theirs);
            }
        }
    }
}

fn accepted(input: &[u8], object: &Object, theirs: serde_json::Result<serde_json::Value>) {
    assert_eq!(members(object), colons(input), "a member was lost");
    let mut whole = Size {
        depth: 1,
        values: 1,
    };
    for (_, value) in object.iter() {
        whole.add(&size(value));
    }
    let limits = Limits::default();
    assert!(input.len() <= limits.bytes);
    assert!(whole.depth <= limits.depth, "{} levels", whole.depth);
    assert!(whole.values <= limits.values, "{} values", whole.values);
    let written = text::of_object(object);
    let again = json::parse_object(written.as_bytes(), &Limits::for_bytes(written.len()));
    assert_eq!(again.as_ref(), Ok(object), "{written}");
    for (name, value) in object.iter() {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        assert_eq!(object.pointer(&pointer), Some(value), "{pointer}");
    }
    match theirs {
        Ok(theirs) => assert!(is_same_object(object, &theirs), "{object:?} and {theirs}"),
        // It has no place for numbers beyond f64; we keep their text.
        Err(error) => assert!(error.to_string().contains("out of range"), "{error}"),
    }
}

/// Where another parser reads a text that we refuse, a limit or a second reading is the reason.
fn is_a_rule_of_ours(problem: JsonProblem, theirs: &serde_json::Value) {
    let stricter = matches!(
        problem,
        JsonProblem::TooLong
            | JsonProblem::NumberTooLong
            | JsonProblem::TooDeep
            | JsonProblem::TooManyValues
            | JsonProblem::DuplicateName
    );
    let no_object = problem == JsonProblem::NotAnObject && !theirs.is_object();
    assert!(stricter || no_object, "{problem} in {theirs}");
}

/// What a value asks of its reader.
struct Size {
    depth: usize,
    values: usize,
}

impl Size {
    fn add(&mut self, inner: &Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.values += inner.values;
    }
}

fn size(value: &Value) -> Size {
    let leaf = |depth| Size { depth, values: 1 };
    match value {
        Value::Null | Value::Bool(_) | Value::Text(_) => leaf(0),
        Value::Number(number) => {
            assert!(number.literal().len() <= 64, "{number}");
            leaf(0)
        }
        Value::List(items) => items.iter().fold(leaf(1), |mut whole, item| {
            whole.add(&size(item));
            whole
        }),
        Value::Object(object) => object.iter().fold(leaf(1), |mut whole, (_, item)| {
            whole.add(&size(item));
            whole
        }),
    }
}

fn members(object: &Object) -> usize {
    object.iter().count() + object.iter().map(|(_, value)| within(value)).sum::<usize>()
}

fn within(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => 0,
        Value::List(items) => items.iter().map(within).sum(),
        Value::Object(object) => members(object),
    }
}

/// Each member has one colon outside of strings.
fn colons(input: &[u8]) -> usize {
    let (mut inside, mut escaped, mut count) = (false, false, 0);
    for byte in input {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b':') => count += 1,
            (true | false, _) => {}
        }
    }
    count
}

fn is_same_object(ours: &Object, theirs: &serde_json::Value) -> bool {
    theirs.as_object().is_some_and(|theirs| {
        ours.iter().count() == theirs.len()
            && ours.iter().all(|(name, value)| {
                theirs
                    .get(name)
                    .is_some_and(|theirs| is_same(value, theirs))
            })
    })
}

fn is_same(ours: &Value, theirs: &serde_json::Value) -> bool {
    match ours {
        Value::Null => theirs.is_null(),
        Value::Bool(value) => theirs.as_bool() == Some(*value),
        Value::Number(number) => is_same_number(number, theirs),
        Value::Text(text) => theirs.as_str() == Some(text),
        Value::List(items) => theirs.as_array().is_some_and(|theirs| {
            items.len() == theirs.len()
                && items
                    .iter()
                    .zip(theirs)
                    .all(|(ours, theirs)| is_same(ours, theirs))
        }),
        Value::Object(object) => is_same_object(object, theirs),
    }
}

fn is_same_number(ours: &Number, theirs: &serde_json::Value) -> bool {
    let exact: f64 = ours
        .literal()
        .parse()
        .expect("a JSON number is one of Rust's");
    match ours.as_seconds() {
        Some(seconds) => {
            assert!((0..=1 << 53).contains(&seconds), "{ours}");
            let seconds: f64 = seconds.to_string().parse().expect("a whole number");
            // The float is rounded, up to the next whole number at most.
            let rounded = exact.floor() - seconds;
            let up = exact.fract().abs() < f64::EPSILON && (rounded - 1.0).abs() < 0.1;
            assert!(rounded.abs() < 0.1 || up, "{ours} as {seconds}");
        }
        None => assert!(
            exact.is_sign_negative() || exact >= 9_007_199_254_740_992.0,
            "{ours}"
        ),
    }
    // The last digits of its floats are not exact.
    theirs
        .as_f64()
        .is_some_and(|theirs| (theirs - exact).abs() <= exact.abs() * 1e-15)
}
