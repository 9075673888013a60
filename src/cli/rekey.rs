//! Changes the master key, or the data key of signing secrets, beside running daemons or without one.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hookseal_core::error::{Error, Result};

use super::store_runtime;
use crate::app::{master_key, rows};
use crate::clock::AnchoredClock;
use crate::config::Config;
use crate::crypto::vault::{
    KeySource, KeyVault, KeyWrap as _, MasterWrap, Moved, rekey_secrets, rewrap, settle_next,
};
use crate::store::Connections;
use crate::telemetry;

/// Which key is changed, and where the new one comes from.
#[derive(Debug, Args)]
pub(super) struct RekeyArgs {
    /// Encrypt all signing secrets anew under a data key made for it; the master key stays
    #[arg(long, group = "new")]
    data: bool,
    /// A file that holds the new master key
    #[arg(long, group = "new", value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// A command that prints the new master key; run without a shell
    #[arg(long, group = "new", value_name = "COMMAND")]
    new_key_command: Option<String>,
    /// Make a new master key in the place of the one in the data directory
    #[arg(long, group = "new")]
    generate: bool,
}

impl RekeyArgs {
    fn new_master_key(&self, config: &Config) -> Result<KeySource> {
        let given = match (&self.new_key_file, &self.new_key_command) {
            (Some(file), _) => Some(KeySource::file("--new-key-file", file)),
            (None, Some(command)) => Some(KeySource::command("--new-key-command", command)),
            (None, None) => None,
        };
        let setting = "new_master_key";
        match (given, &config.new_master_key) {
            (Some(_), Some(_)) => {
                Err(Error::invalid(setting, "nothing, since an option names the new key"))
            }
            (Some(source), None) => Ok(source),
            (None, Some(source)) => Ok(source.clone()),
            (None, None) => {
                let ways =
                    "base64url of 32 bytes, or --new-key-file, --new-key-command or --generate";
                Err(Error::invalid(setting, ways))
            }
        }
    }
}

pub(super) fn run(config: &Config, args: &RekeyArgs) -> Result<()> {
    telemetry::start(config)?;
    let runtime = store_runtime()?;
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let connections = rows(config, &handle).await?;
        let changed = match args {
            RekeyArgs { data: true, .. } => change_data_key(config, &connections).await,
            RekeyArgs { generate: true, .. } => generate(config, &connections).await,
            _ => {
                let new = MasterWrap::open(args.new_master_key(config)?).await?;
                change_master_key(config, &connections, new).await
            }
        };
        connections.close().await;
        changed
    })
}

async fn generate(config: &Config, connections: &Connections) -> Result<()> {
    if config.master_key.is_some() || !config.is_embedded() {
        let rule = "a master key that was made in the data directory; name the new one instead";
        return Err(Error::invalid("--generate", rule));
    }
    // The former file stays until the data keys are wrapped by the key in the other.
    let new = MasterWrap::open(KeySource::next_in_data_dir(&config.data_dir)?).await?;
    change_master_key(config, connections, new).await?;
    settle_next(&config.data_dir)?;
    println!("it stands in the data directory, in the former one's place");
    Ok(())
}

async fn change_master_key(
    config: &Config,
    connections: &Connections,
    new: MasterWrap,
) -> Result<()> {
    let old = MasterWrap::open(master_key(config)?).await?;
    if old.id() == new.id() {
        return Err(Error::invalid("the new master key", "another than the one in use"));
    }
    match rewrap(connections, &old, &new).await? {
        0 => println!("the master key is {} already", new.id()),
        _ => println!("the master key is {}, no longer {}", new.id(), old.id()),
    }
    println!("running daemons go on; give it to each of them before its next start");
    Ok(())
}

/// A daemon that was given its key can't have a later one, and so not the data key that is wrapped by it.
#[allow(clippy::print_stderr, reason = "it is no part of what the command answers")]
fn warn_of_given_key() {
    eprintln!(
        "warning: the master key is given by a setting, which running daemons do not read again. A daemon that was \
         started before the master key last changed can't open the new data key: what it delivers waits until it \
         is started again."
    );
}

async fn change_data_key(config: &Config, connections: &Connections) -> Result<()> {
    let clock = AnchoredClock::start();
    let master = master_key(config)?;
    if !master.is_read_again() {
        warn_of_given_key();
    }
    let wrap = Arc::new(MasterWrap::open(master).await?);
    let vault = KeyVault::open(connections, wrap, &clock).await?;
    let progress = |so_far: Moved| println!("{} signing secrets encrypted anew", so_far.moved);
    match rekey_secrets(connections, &vault, &clock, progress).await?.unreadable {
        0 => {
            println!("done: all are under the new data key, the former one is deleted");
            Ok(())
        }
        unreadable => {
            let cause = format!(
                "{unreadable} do not open (the log names them) and keep the former data key; \
                 rotate them and run this again"
            );
            Err(Error::broken("a signing secret", cause))
        }
    }
}
