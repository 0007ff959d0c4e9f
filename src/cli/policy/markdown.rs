//! Text of a pull request in a comment, where none of it is markup, a mention or a command (T-347).

/// Text in a block that Markdown does not read, cut after about `longest` bytes.
pub(super) fn fenced(text: &str, longest: usize) -> String {
    let mut block = String::new();
    for line in text.lines() {
        let line: String = line.chars().map(plain).collect();
        if block.len().saturating_add(line.len()) > longest {
            block.push_str("... cut: the log of the job has all of it\n");
            break;
        }
        block.push_str(&line);
        block.push('\n');
    }
    let fence = fence(&block, 3);
    format!("{fence}text\n{block}{fence}")
}

/// Markdown of our own, cut between two lines after about `longest` bytes. No line begins with a command
/// of a CI's runner, or with a quick action of GitLab.
pub(super) fn cut(text: &str, longest: usize) -> String {
    let mut all = String::new();
    let mut is_open = false;
    for line in text.lines() {
        if all.len().saturating_add(line.len()) > longest {
            if is_open {
                all.push_str("  ```\n");
            }
            all.push_str("\n... cut: `hallpass policy diff` shows all of it\n");
            break;
        }
        if line.trim() == "```" {
            is_open = !is_open;
        }
        if line.trim_start().starts_with(['/', ':']) {
            all.push('\\');
        }
        all.extend(line.chars().map(plain));
        all.push('\n');
    }
    all
}

/// A name in a line, as code.
pub(super) fn name(text: &str) -> String {
    let text: String = text.chars().map(plain).collect();
    let fence = fence(&text, 1);
    format!("{fence} {text} {fence}")
}

/// The first line of our comment about a folder, which is not shown.
pub(super) fn marker(dir: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "/._".contains(*letter);
    let dir: String = dir
        .chars()
        .map(|letter| if is_plain(&letter) { letter } else { '_' })
        .collect();
    format!("<!-- hallpass policy review: {dir} -->")
}

/// Commands print ASCII and two marks. Nothing else comes from them.
const fn plain(letter: char) -> char {
    match letter {
        ' '..='~' | '✓' | '✗' => letter,
        _ => '?',
    }
}

/// At least so many backticks, and more than are in the text one after the other.
pub(super) fn fence(text: &str, least: usize) -> String {
    let runs = text.split(|letter| letter != '`').map(str::len);
    let longest = runs.max().unwrap_or_default();
    "`".repeat(longest.saturating_add(1).max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-347
    #[test]
    fn a_block_ends_where_we_end_it_whatever_it_holds() {
        let block = fenced("```\n@all <b>\n````x\n\u{202e}", 1_000);
        assert_eq!(block, "`````text\n```\n@all <b>\n````x\n?\n`````");
        assert_eq!(name("a`b``c"), "``` a`b``c ```");
        assert_eq!(
            marker("a --> b`\n"),
            "<!-- hallpass policy review: a_____b__ -->"
        );
        let short = fenced(&"line\n".repeat(100), 20);
        assert!(short.ends_with("has all of it\n```"), "{short}");
        assert_eq!(cut("a\n::x\n/close\n", 100), "a\n\\::x\n\\/close\n");
        let short = cut(&format!("  ```\n{}", "  fact: \"x\"\n".repeat(9)), 40);
        assert_eq!(short.matches("```").count(), 2, "{short}");
    }
}
