//! The `hookseal` binary.

use std::process::ExitCode;

use clap::Parser as _;
use hookseal::cli::{self, Cli};
use hookseal::config::Config;

/// Gives memory back once a crowd has gone: every delivery makes and drops a few dozen small things, on
/// threads that hand them to each other.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Config::load().and_then(|config| cli::run(cli, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// The whole chain of causes on one line: the operator is the one who can mend it.
#[allow(clippy::print_stderr, reason = "a command that failed tells why")]
fn report(error: &dyn std::error::Error) {
    let mut line = format!("hookseal: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    eprintln!("{line}");
}
