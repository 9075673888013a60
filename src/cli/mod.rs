//! The commands of the binary, one file a command.

mod bench;
mod cluster;
mod demo;
mod organizations;
mod rekey;
mod serve;

use clap::{Args, Parser, Subcommand};
use hookseal_core::admin::Admin;
use hookseal_core::error::Result;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::app::Foundation;
use crate::config::Config;
use crate::telemetry;

/// Webhook delivery that nobody on the way can read: sealed, signed, never lost.
///
/// Settings come from hookseal.toml and from the environment (HOOKSEAL_LISTEN, HOOKSEAL_DATA_DIR,
/// …), which wins; docs/operations.md lists them.
#[derive(Debug, Parser)]
#[command(name = "hookseal", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (this is what no command does, too)
    Serve,
    /// Show the daemon at work: thousands of events to five receivers, checked, in under a minute
    Demo(demo::DemoArgs),
    /// Measure what an installation can take: throughput, latency, processor time, against the machine's limit
    Bench(bench::BenchArgs),
    /// The daemon of a bench, which ends with it
    #[command(hide = true)]
    BenchDaemon,
    /// The receiver of a bench
    #[command(hide = true)]
    BenchReceiver,
    /// The limit that a bench compares with
    #[command(hide = true)]
    BenchLimit,
    /// Bring the database's schema up to date and exit
    Migrate,
    /// Print the GraphQL schema's definition
    Schema,
    /// Print the OpenAPI document of the REST API
    Openapi,
    /// Manage organizations
    #[command(subcommand)]
    Org(OrgCommand),
    /// Manage API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Change the master key, or the data key of signing secrets, beside running daemons
    Rekey(rekey::RekeyArgs),
    /// Look at the nodes that share a database
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show nodes, their shards and what they have to do
    Status,
}

#[derive(Debug, Subcommand)]
enum OrgCommand {
    /// Make an organization and print its id
    Create(NewOrg),
}

#[derive(Debug, Args)]
struct NewOrg {
    /// Name for people, 1 to 120 characters
    #[arg(long)]
    name: String,
    /// A UUID to make it under; a new one when left out
    #[arg(long)]
    id: Option<String>,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make an API key and print it; it is not shown again
    Create(NewKey),
}

#[derive(Debug, Args)]
struct NewKey {
    /// Name for people, 1 to 120 characters
    #[arg(long, default_value = "cli")]
    name: String,
    /// The organization that the key belongs to
    #[arg(long, required_unless_present = "platform")]
    organization: Option<String>,
    /// A right that the key holds; may be repeated
    #[arg(long = "scope", default_values = ["webhooks:read", "webhooks:write"])]
    scopes: Vec<String>,
    /// Make a platform key, which publishes and makes organizations
    #[arg(long, conflicts_with = "organization")]
    platform: bool,
}

/// Runs the command.
///
/// # Errors
/// Whatever kept it from its job, with the setting or argument named.
pub fn run(cli: Cli, config: Config) -> Result<()> {
    forbid_core_dumps();
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(&config),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(args),
        Command::BenchDaemon => {
            crate::bench::child::follow_parent();
            serve::run(&config)
        }
        Command::BenchReceiver => crate::bench::receiver::run(),
        Command::BenchLimit => crate::bench::limit::run(),
        Command::Schema => {
            print!("{}", hookseal_graphql::sdl());
            Ok(())
        }
        Command::Openapi => {
            println!("{:#}", crate::api::openapi_document(&config));
            Ok(())
        }
        Command::Migrate => organizations::migrate(&config),
        Command::Rekey(args) => rekey::run(&config, &args),
        Command::Cluster(ClusterCommand::Status) => cluster::status(&config),
        Command::Org(OrgCommand::Create(new)) => organizations::create(&config, new.name, new.id),
        Command::Key(KeyCommand::Create(new)) => match new.organization {
            Some(organization) => {
                organizations::create_key(&config, &organization, new.name, new.scopes)
            }
            None => organizations::create_platform_key(&config, &new.name),
        },
    }
}

/// A core would show payloads and keys. Whoever is not let is as he was: the limit can only be lowered.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
}

/// Does something on the rows, beside a running daemon or without one.
fn with_admin<T>(config: &Config, work: impl AsyncFnOnce(Admin) -> Result<T>) -> Result<T> {
    telemetry::start(config)?;
    let runtime = store_runtime()?;
    let handle = runtime.handle().clone();
    runtime.block_on(async {
        let admin = Foundation::open(config, handle).await?.into_admin(config)?;
        work(admin).await
    })
}

/// A runtime for database work, apart from the threads that serve and seal.
pub(crate) fn store_runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("hookseal-store")
        .enable_all()
        .build()
        .map_err(|error| hookseal_core::error::Error::unavailable("a thread", error))
}
