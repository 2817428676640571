//! Parse, execute, exit code.
use backout::cli::Cli;
use clap::Parser;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(Cli::parse().execute() as u8)
}
