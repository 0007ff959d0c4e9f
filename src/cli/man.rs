//! `hallpass man`: the manual, one page for each command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man;

use super::version::DATE;
use super::{Failure, Terminal};

/// Prints the manual page, or writes the pages of all commands into a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass man | man -l -
  hallpass man --out /usr/local/share/man/man1")]
pub struct Args {
    /// Write `hallpass.1` and a page for each command into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// # Errors
/// A page cannot be written.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.out else {
        let page = page(command).map_err(Failure::local)?;
        out.verbatim(page.trim_end());
        return Ok(());
    };
    write(&command, folder).map_err(|error| {
        Failure::Local(format!(
            "the manual cannot be written to `{}`: {error}",
            folder.display()
        ))
    })
}

/// Writes the pages of a command and of all below it.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = folder.join(format!("{name}.1"));
    fs::create_dir_all(folder)?;
    fs::write(path, page(command.clone())?)?;
    let mut below = command.get_subcommands();
    below.try_for_each(|one| write(one, folder))
}

fn page(command: Command) -> io::Result<String> {
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command)
        .date(DATE.trim_start_matches("unknown"))
        .source(concat!("hallpass ", env!("CARGO_PKG_VERSION")))
        .manual("hallpass");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    man.render_subcommands_section(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    let mut text = text
        // An empty date would move the arguments after it.
        .replacen(" 1  ", " 1 \"\" ", 1)
        .replace("\n.br\n\n.br\n", "\n.sp\n");
    if let Some(examples) = examples {
        text.push_str(&section_of(&examples));
    }
    Ok(text)
}

/// The examples of the help, line by line as they are.
fn section_of(examples: &str) -> String {
    let mut text = ".SH EXAMPLES\n.nf\n".to_owned();
    for line in examples.lines().skip(1) {
        let line = line.strip_prefix("  ").unwrap_or(line);
        let line = line
            .replace('\\', "\\e")
            .replace('-', "\\-")
            .replace('\'', "\\(aq");
        // A line that begins so is not a request.
        text.extend(["\\&", &line, "\n"]);
    }
    text.push_str(".fi\n");
    text
}
