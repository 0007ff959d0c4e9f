//! `hallpass completions`: what a shell reads to complete commands and options.

use clap_complete::Shell;

use super::{Failure, Terminal};

/// Prints a script that completes commands and options in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hallpass completions bash >/etc/bash_completion.d/hallpass
  hallpass completions zsh >/usr/local/share/zsh/site-functions/_hallpass
  hallpass completions fish >~/.config/fish/completions/hallpass.fish
  hallpass completions powershell >>$PROFILE")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// # Errors
/// Never by itself; an output that cannot be written is noted.
pub fn run(args: &Args, out: &mut Terminal) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "hallpass", &mut script);
    let script = String::from_utf8(script).map_err(Failure::local)?;
    out.verbatim(script.trim_end());
    Ok(())
}
