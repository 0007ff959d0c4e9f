//! Changes of a file as a unified diff, as `git apply` and `patch` read it.

use std::ops::Range;

use crate::text::is_printable;
use crate::yaml::edit::{Edit, apply, line_end, line_start};

/// The unified diff of a file; `name` is its path for the reader. The edits are in order. `None`: the name
/// cannot be in the head of a patch (T-326).
pub(super) fn unified(name: &str, text: &str, edits: &[Edit]) -> Option<String> {
    let is_plain = is_printable(name) && !name.contains(['"', '\\']);
    let stays = |part: &str| !matches!(part, "" | "." | "..");
    if !is_plain || !name.split('/').all(stays) {
        return None;
    }
    // Otherwise readers would end a name at its first space.
    let end = if name.contains(' ') { "\t" } else { "" };
    let mut patch = format!("--- a/{name}{end}\n+++ b/{name}{end}\n");
    let old: Vec<&str> = text.split_inclusive('\n').collect();
    let (mut added, mut removed) = (0_usize, 0_usize);
    for hunk in hunks(changes(text, edits)) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        let start = first.old.start.saturating_sub(CONTEXT);
        let end = last.old.end.saturating_add(CONTEXT).min(old.len());
        let mut lines = Lines::default();
        let mut at = start;
        for change in &hunk {
            lines.push(' ', old.get(at..change.old.start).unwrap_or_default());
            lines.push('-', old.get(change.old.clone()).unwrap_or_default());
            let new: Vec<&str> = change.new.split_inclusive('\n').collect();
            lines.push('+', &new);
            at = change.old.end;
        }
        lines.push(' ', old.get(at..end).unwrap_or_default());
        let kept = lines.kept;
        let (were, are) = (
            kept.saturating_add(lines.removed),
            kept.saturating_add(lines.added),
        );
        let start_now = start.saturating_add(added).saturating_sub(removed);
        let (from, to) = (range(start, were), range(start_now, are));
        let head = format!("@@ -{from} +{to} @@\n");
        patch.extend([head.as_str(), lines.text.as_str()]);
        added = added.saturating_add(lines.added);
        removed = removed.saturating_add(lines.removed);
    }
    Some(patch)
}

/// Lines of a text, from 0, and what is there instead.
struct Change {
    old: Range<usize>,
    new: String,
}

#[derive(Default)]
struct Lines {
    text: String,
    kept: usize,
    added: usize,
    removed: usize,
}

impl Lines {
    fn push(&mut self, mark: char, lines: &[&str]) {
        let number = match mark {
            '+' => &mut self.added,
            '-' => &mut self.removed,
            _ => &mut self.kept,
        };
        *number = number.saturating_add(lines.len());
        for line in lines {
            self.text.push(mark);
            self.text.push_str(line);
            if !line.ends_with('\n') {
                self.text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
}

/// The changed lines, in order.
fn changes(text: &str, edits: &[Edit]) -> Vec<Change> {
    // The bytes of whole lines, and the edits in them.
    let mut parts: Vec<(Range<usize>, Vec<Edit>)> = Vec::new();
    for edit in edits {
        let start = line_start(text, edit.span.start);
        let is_whole = edit.text.is_empty()
            && start == edit.span.start
            && line_start(text, edit.span.end) == edit.span.end;
        let end = if is_whole {
            edit.span.end
        } else {
            line_end(text, edit.span.end)
        };
        match parts.last_mut() {
            Some((lines, edits)) if start < lines.end => {
                lines.end = lines.end.max(end);
                edits.push(edit.clone());
            }
            Some(_) | None => parts.push((start..end, vec![edit.clone()])),
        }
    }
    let parts = parts.into_iter().map(|(lines, mut edits)| {
        for edit in &mut edits {
            edit.span.start = edit.span.start.saturating_sub(lines.start);
            edit.span.end = edit.span.end.saturating_sub(lines.start);
        }
        let number = |text: &str| text.split_inclusive('\n').count();
        let first = number(text.get(..lines.start).unwrap_or_default());
        let old = text.get(lines).unwrap_or_default();
        Change {
            old: first..first.saturating_add(number(old)),
            new: apply(old, &edits),
        }
    });
    parts.collect()
}

/// Changes whose lines of context touch are one hunk.
fn hunks(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut hunks: Vec<Vec<Change>> = Vec::new();
    for change in changes {
        let last = hunks.last().and_then(|hunk| hunk.last());
        let reach = last.map(|last| last.old.end.saturating_add(CONTEXT.saturating_mul(2)));
        match hunks.last_mut() {
            Some(hunk) if reach.is_some_and(|reach| change.old.start <= reach) => hunk.push(change),
            Some(_) | None => hunks.push(vec![change]),
        }
    }
    hunks
}

/// The lines of a side of a hunk. Of none, the number is that of the line before.
fn range(start: usize, number: usize) -> String {
    let first = if number == 0 {
        start
    } else {
        start.saturating_add(1)
    };
    format!("{first},{number}")
}

/// Lines before and after a change.
const CONTEXT: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::diagnostic::Span;

    fn edit(text: &str, old: &str, new: &str) -> Edit {
        let start = text.find(old).unwrap();
        let end = start + old.len();
        Edit {
            span: Span { start, end },
            text: new.to_owned(),
        }
    }

    #[test]
    fn lines_that_change_are_shown_with_those_around_them() {
        let lines: Vec<String> = (1..=20).map(|number| format!("line {number}")).collect();
        let text = lines.join("\n");
        let text = text.as_str();
        let edits = [
            edit(text, "line 2\n", ""),
            edit(text, "4", "four"),
            edit(text, "20", "twenty"),
        ];
        insta::assert_snapshot!(unified("policies/a.yaml", text, &edits).unwrap(), @r"
        --- a/policies/a.yaml
        +++ b/policies/a.yaml
        @@ -1,7 +1,6 @@
         line 1
        -line 2
         line 3
        -line 4
        +line four
         line 5
         line 6
         line 7
        @@ -17,4 +16,4 @@
         line 17
         line 18
         line 19
        -line 20
        \ No newline at end of file
        +line twenty
        \ No newline at end of file
        ");
    }

    /// T-326
    #[test]
    fn a_name_that_could_be_read_as_another_file_makes_no_patch() {
        for name in [
            "a\n+++ b/c",
            "a\t",
            "../a",
            "/etc/a",
            "a//b",
            "\"a\"",
            "a\\b",
            "\u{430}",
        ] {
            assert_eq!(
                unified(name, "a\n", &[edit("a\n", "a", "b")]),
                None,
                "{name:?}"
            );
        }
        let spaced = unified("a b.yaml", "a\n", &[edit("a\n", "a", "b")]).unwrap();
        assert!(
            spaced.starts_with("--- a/a b.yaml\t\n+++ b/a b.yaml\t\n"),
            "{spaced}"
        );
    }
}
