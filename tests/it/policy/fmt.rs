//! `hallpass policy fmt`, by the real binary: formatted text stays formatted, and what it cannot
//! format it leaves.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::repository;
use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::Observed as _;

fn fmt(arguments: &[&str], path: &Path) -> std::process::Output {
    let mut all = vec!["policy", "fmt"];
    all.extend(arguments);
    all.push(path.to_str().unwrap());
    hallpass(&all).observed()
}

#[test]
fn spacing_is_formatted_and_texts_and_comments_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.test.yaml");
    let before = "\n#first\na:   {b: 1 ,c: [ x,  y ]}   #note  \r\n\n\n\nd: \"x  ,  y\"\nn: it's a#b\n\
                  b: |\n  x  \n\n\n  y,z:[ ]\nk: [ { a: 1},{b: '2'} , [ ] , { } ]\nm: a\n  b   \n  c\n\n\n";
    let after = "# first\na: { b: 1, c: [x, y] }   # note\n\nd: \"x  ,  y\"\nn: it's a#b\n\
                 b: |\n  x  \n\n\n  y,z:[ ]\nk: [{ a: 1 }, { b: '2' }, [], {}]\nm: a\n  b   \n  c\n";
    fs::write(&path, before).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let output = fmt(&["--check"], folder.path());
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(stdout(&output).contains("a.test.yaml"), "{}", told(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    let output = fmt(&[], &path);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), after);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let output = fmt(&["--check"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn a_file_that_does_not_parse_and_a_link_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let (bad, link) = (folder.path().join("b.yaml"), folder.path().join("l.yaml"));
    fs::write(&bad, "a:   [1\n").unwrap();
    let output = fmt(&[], folder.path());
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(stderr(&output).contains("malformed"), "{}", told(&output));
    assert_eq!(fs::read_to_string(&bad).unwrap(), "a:   [1\n");
    let target = folder.path().join("target.txt");
    fs::write(&target, "a:   1\n").unwrap();
    symlink(&target, &link).unwrap();
    let output = fmt(&[], &link);
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert_eq!(fs::read_to_string(&target).unwrap(), "a:   1\n");
}

/// Random documents and the policies of the repository.
#[test]
fn formatted_files_stay_as_they_are() {
    const PARTS: [&str; 24] = [
        "a",
        "b c",
        "'x  y'",
        "\"q: , #\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ", ",
        ": ",
        ":",
        " ",
        "  ",
        "\n",
        "\n  ",
        "\n- ",
        "\nk: ",
        "\nl:  ",
        " #c",
        "#",
        "|\n  t  \n",
        "\r\n",
        "\t",
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut seed = 1_u64;
    for number in 0..600 {
        let mut text = format!("k{number}: ");
        for _ in 0..number % 12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            text.push_str(PARTS[usize::try_from(seed >> 33).unwrap() % PARTS.len()]);
        }
        fs::write(folder.path().join(format!("{number}.yaml")), text).unwrap();
    }
    let first = fmt(&[], folder.path());
    assert!(stdout(&first).lines().count() > 30, "{}", told(&first));
    let again = fmt(&["--check"], folder.path());
    assert_eq!(stdout(&again), "", "{}", told(&again));
    let ours = fmt(&["--check"], &repository().join("policies"));
    assert_eq!(ours.status.code(), Some(0), "{}", told(&ours));
}
