//! Runs the daemon until it is asked to stop.

use hookseal_core::error::{Error, Result};
use tokio::signal::unix::{SignalKind, signal};

use super::store_runtime;
use crate::app::Daemon;
use crate::config::Config;
use crate::telemetry;

pub(super) fn run(config: &Config) -> Result<()> {
    telemetry::start(config)?;
    let runtime = store_runtime()?;
    let handle = runtime.handle().clone();
    let result = actix::System::new().block_on(async {
        let listen = |kind| signal(kind).map_err(|error| Error::unavailable("a signal", error));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let daemon = Daemon::start(config, handle).await?;
        if let Some(key) = &daemon.first_platform_key {
            println!("platform key (shown once): {}", key.expose());
        }
        let scheme = if config.certificate.is_some() { "https" } else { "http" };
        println!("listening on {scheme}://{}", daemon.address);
        tracing::info!(address = %daemon.address, "listening");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = daemon.displaced() => {
                return Err(Error::broken("the database", "another node has taken it over"));
            }
        }
        tracing::info!("draining");
        daemon.stop().await;
        tracing::info!("drained");
        Ok(())
    });
    runtime.shutdown_background();
    result
}
