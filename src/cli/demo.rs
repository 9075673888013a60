//! Shows the daemon at work.

use clap::Args;
use hookseal_core::error::Result;

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many events to publish
    #[arg(long, default_value_t = 3000)]
    events: usize,
}

pub(super) fn run(args: &DemoArgs) -> Result<()> {
    crate::demo::run(args.events)
}
