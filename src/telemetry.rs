//! Log lines: ids and names, never a payload, a secret or a key.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::config::{Config, LogFormat};
use hookseal_core::error::{Error, Result};

/// Starts logging to standard error.
pub fn start(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|_| Error::invalid("log", "a filter such as info or hookseal=debug,info"))?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    registry().with(filter).with(filter_fn(is_fit)).with(lines).init();
    Ok(())
}

/// Whether a line may be written at all, whatever the filter says. Libraries write at `debug` and `trace` what
/// they are given: heads of requests with their keys, targets with their queries, statements. And a line for
/// each malformed request is a line for whoever wants to fill the disk.
fn is_fit(line: &Metadata<'_>) -> bool {
    let (library, _) = line.target().split_once("::").unwrap_or((line.target(), ""));
    match library {
        "hookseal" | "hookseal_core" | "hookseal_graphql" => true,
        "actix_http" => false,
        _ => *line.level() <= Level::INFO,
    }
}
