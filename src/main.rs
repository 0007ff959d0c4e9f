//! Arguments in, exit code out. Not: anything but cli.

fn main() -> std::process::ExitCode {
    hallpass::cli::run()
}
