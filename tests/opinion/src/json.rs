//! The one reader of foreign JSON: every file of JSONTestSuite, and what two other readers say.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hallpass::token::json::{JsonProblem, Limits, parse_object};
use json_syntax::Parse as _;
use serde_json::Value;

/// `y_` must be read, `n_` must not, `i_` may.
#[derive(Clone)]
struct File {
    name: String,
    text: Vec<u8>,
}

/// T-16, T-17
#[test]
fn what_is_no_json_is_refused_by_itself_and_inside_an_object() {
    for file in files().iter().filter(|file| file.name.starts_with("n_")) {
        for text in [file.text.clone(), inside(&file.text)] {
            assert!(ours(&text).is_err(), "{}", file.name);
        }
    }
}

/// T-16, T-17, T-18
#[test]
fn what_is_json_is_read_unless_two_readers_would_take_it_differently() {
    let mut refused = Vec::new();
    for file in files().iter().filter(|file| file.name.starts_with("y_")) {
        let read = ours(&inside(&file.text));
        // By itself it must be an object, too.
        let is_object = file.text.trim_ascii_start().starts_with(b"{");
        assert_eq!(
            ours(&file.text).is_ok(),
            is_object && read.is_ok(),
            "{}",
            file.name
        );
        if let Err(problem) = read {
            refused.push((file.name.clone(), problem));
        }
    }
    let table = REFUSED.map(|(name, problem)| (name.to_owned(), problem));
    assert_eq!(refused, table);
}

/// T-17
#[test]
fn where_the_standard_leaves_it_open_nothing_is_guessed() {
    for file in files().iter().filter(|file| file.name.starts_with("i_")) {
        let problem = ours(&inside(&file.text)).unwrap_err();
        assert!(
            matches!(problem, JsonProblem::NotUtf8 | JsonProblem::LoneSurrogate),
            "{}: {problem}",
            file.name
        );
    }
}

/// T-17
#[test]
fn other_readers_read_the_same_or_stand_in_the_table() {
    let mut differing = Vec::new();
    for file in files() {
        let text = inside(&file.text);
        let ours = ours(&text);
        let serde = serde_json::from_slice::<Value>(&text);
        let syntax = json_syntax::Value::parse_slice(&text);
        // Theirs rounds numbers in another way; ours keeps them as written.
        if let (Ok(ours), Ok(serde), false) = (&ours, &serde, file.name.contains("_number_")) {
            assert_eq!(ours, serde, "{}", file.name);
        }
        if ours.is_ok() != serde.is_ok() || ours.is_ok() != syntax.is_ok() {
            differing.push((file.name, ours.is_ok(), serde.is_ok(), syntax.is_ok()));
        }
    }
    let differing: Vec<_> = differing
        .iter()
        .map(|(name, ours, serde, syntax)| (name.as_str(), *ours, *serde, *syntax))
        .collect();
    let table: Vec<_> = DIFFERING
        .iter()
        .map(|(name, ours, serde, syntax, _)| (*name, *ours, *serde, *syntax))
        .collect();
    assert_eq!(differing, table);
}

/// josekit turns on `preserve_order` for everybody in this build: our reader has its own order and
/// its own rule for duplicates, and does not notice.
///
/// T-18, T-99
#[test]
fn features_of_serde_json_change_nothing() {
    let text = r#"{"b":1,"a":{"d":1,"c":2}}"#;
    let theirs: Value = serde_json::from_str(text).unwrap();
    assert_eq!(theirs.to_string(), text, "`preserve_order` is off");
    let object = parse_object(text.as_bytes(), &Limits::default()).unwrap();
    let names: Vec<&str> = object.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(
        ours(br#"{"a":1,"a":1}"#).unwrap_err(),
        JsonProblem::DuplicateName
    );
    let number = r#"{"$serde_json::private::Number":"1"}"#;
    assert!(ours(number.as_bytes()).unwrap().is_object());
}

fn ours(text: &[u8]) -> Result<Value, JsonProblem> {
    parse_object(text, &Limits::default())
        .map(|object| Value::Object(object.to_json()))
        .map_err(|error| error.problem)
}

fn inside(text: &[u8]) -> Vec<u8> {
    [br#"{"v":"#, text, b"}"].concat()
}

/// From where cargo put the package, in the order of their names.
fn files() -> Vec<File> {
    let mut files: Vec<File> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| File {
            name: entry.file_name().into_string().unwrap(),
            text: fs::read(entry.path()).unwrap(),
        })
        .collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(files.len() > 300, "only {} files were found", files.len());
    files
}

fn folder() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args([
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let graph: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = graph["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "json-syntax")
        .unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap())
        .with_file_name("tests")
        .join("inputs")
}

/// JSON that is refused all the same, and why.
const REFUSED: [(&str, JsonProblem); 5] = [
    // Beyond the limits (T-16).
    ("y_number_double_close_to_zero.json", JsonProblem::NumberTooLong),
    ("y_number_huge_exp.json", JsonProblem::NumberTooLong),
    // The standard only advises against it (RFC 8259 section 4, T-18).
    ("y_object_duplicated_key.json", JsonProblem::DuplicateName),
    (
        "y_object_duplicated_key_and_value.json",
        JsonProblem::DuplicateName,
    ),
    ("y_structure_500_nested_arrays.json", JsonProblem::TooDeep),
];

/// Inside an object: whether we, `serde_json` and `json-syntax` read it, and why ours is right.
const DIFFERING: &[(&str, bool, bool, bool, &str)] = &[
    (
        "i_string_overlong_sequence_2_bytes.json",
        false,
        false,
        true,
        "not UTF-8: RFC 3629 section 3",
    ),
    (
        "y_number_double_close_to_zero.json",
        false,
        true,
        true,
        "a long number: T-16",
    ),
    (
        "y_number_huge_exp.json",
        false,
        false,
        true,
        "a long number: T-16",
    ),
    (
        "y_number_neg_int_huge_exp.json",
        true,
        false,
        true,
        "JSON, and kept as written",
    ),
    (
        "y_number_pos_double_huge_exp.json",
        true,
        false,
        true,
        "JSON, and kept as written",
    ),
    (
        "y_number_real_neg_overflow.json",
        true,
        false,
        true,
        "JSON, and kept as written",
    ),
    (
        "y_number_real_pos_overflow.json",
        true,
        false,
        true,
        "JSON, and kept as written",
    ),
    (
        "y_object_duplicated_key.json",
        false,
        true,
        true,
        "two readers, two values: T-18",
    ),
    (
        "y_object_duplicated_key_and_value.json",
        false,
        true,
        true,
        "two readers, two values: T-18",
    ),
    (
        "y_structure_500_nested_arrays.json",
        false,
        false,
        true,
        "depth: T-16",
    ),
];
