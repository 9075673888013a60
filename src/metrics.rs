//! What is counted and timed, by the names that dashboards rely on.

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    TextEncoder,
};

macro_rules! registered {
    ($metric:expr) => {{
        let metric = $metric.expect("the metric's name and labels are well formed");
        prometheus::register(Box::new(metric.clone())).expect("each metric is registered once");
        metric
    }};
}

/// Events accepted.
pub static EVENTS_ACCEPTED: LazyLock<IntCounter> = LazyLock::new(|| {
    registered!(IntCounter::new(
        "hookseal_events_accepted_total",
        "Events committed and answered 202."
    ))
});

/// Publishes refused, by error code.
pub static PUBLISHES_REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("hookseal_publishes_refused_total", "Publishes refused, by error code.");
    registered!(IntCounterVec::new(opts, &["code"]))
});

/// Attempts that ended, by result: `delivered`, `answered` (not 2xx) or the error kind.
pub static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("hookseal_attempts_total", "Attempts that ended, by result.");
    registered!(IntCounterVec::new(opts, &["result"]))
});

/// Duration of attempts, in seconds.
pub static ATTEMPT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts =
        HistogramOpts::new("hookseal_attempt_seconds", "Duration of attempts.").buckets(vec![
            0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0,
        ]);
    registered!(Histogram::with_opts(opts))
});

/// Time from acceptance to the start of a schedule's first attempt, in seconds.
pub static FIRST_ATTEMPT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new(
        "hookseal_first_attempt_delay_seconds",
        "Time from acceptance to the start of the first attempt of a schedule: that of a retry by hand or after a lost claim counts again.",
    )
    .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0]);
    registered!(Histogram::with_opts(opts))
});

/// Pieces of work that the store did for callers, beside the ledger's batches.
pub static STORE_CALLS: LazyLock<IntCounter> = LazyLock::new(|| {
    registered!(IntCounter::new(
        "hookseal_store_calls_total",
        "Reads and changes of rows, beside the ledger's batches."
    ))
});

/// Rows of ledger batches.
pub static LEDGER_BATCH_ROWS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = HistogramOpts::new("hookseal_ledger_batch_rows", "Rows of one ledger transaction.")
        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]);
    registered!(Histogram::with_opts(opts))
});

/// Duration of ledger transactions, in seconds.
pub static LEDGER_COMMIT_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts =
        HistogramOpts::new("hookseal_ledger_commit_seconds", "Duration of ledger transactions.")
            .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0]);
    registered!(Histogram::with_opts(opts))
});

/// Endpoint actors alive.
pub static ACTORS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered!(IntGauge::new("hookseal_endpoint_actors", "Endpoint actors alive."))
});

/// Attempts in flight.
pub static IN_FLIGHT: LazyLock<IntGauge> = LazyLock::new(|| {
    registered!(IntGauge::new("hookseal_attempts_in_flight", "Attempts in flight."))
});

/// Connections that watch.
pub static LIVE_CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered!(IntGauge::new("hookseal_live_connections", "WebSockets and event streams open."))
});

/// Shards held.
pub static SHARDS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered!(IntGauge::new("hookseal_shards_held", "Shards of the endpoints held by this node."))
});

/// Rounds of what one of all nodes does.
pub static HOUSEKEEPING: LazyLock<IntCounter> = LazyLock::new(|| {
    registered!(IntCounter::new(
        "hookseal_housekeeping_rounds_total",
        "Rounds of what one of all nodes does: sweeps, purges, lost claims."
    ))
});

/// Claims whose holder was gone.
pub static CLAIMS_LOST: LazyLock<IntCounter> = LazyLock::new(|| {
    registered!(IntCounter::new("hookseal_claims_lost_total", "Claims whose holder was gone."))
});

/// Endpoint actors that panicked and were rebuilt.
pub static ACTOR_PANICS: LazyLock<IntCounter> = LazyLock::new(|| {
    registered!(IntCounter::new("hookseal_actor_panics_total", "Endpoint actors that panicked."))
});

/// Requests answered, by method, route and status.
pub static HTTP_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let opts = HistogramOpts::new("hookseal_http_seconds", "Duration of requests to the API.")
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0]);
    registered!(HistogramVec::new(opts, &["method", "route", "status"]))
});

/// Registers what has no labels, so that it is there before it first counts.
pub fn register() {
    for counter in [&EVENTS_ACCEPTED, &CLAIMS_LOST, &ACTOR_PANICS, &HOUSEKEEPING] {
        LazyLock::force(counter);
    }
    for gauge in [&ACTORS, &IN_FLIGHT, &LIVE_CONNECTIONS, &SHARDS] {
        LazyLock::force(gauge);
    }
    for histogram in
        [&ATTEMPT_SECONDS, &FIRST_ATTEMPT_SECONDS, &LEDGER_BATCH_ROWS, &LEDGER_COMMIT_SECONDS]
    {
        LazyLock::force(histogram);
    }
}

/// All metrics in Prometheus' text format.
pub fn render() -> Vec<u8> {
    let mut text = Vec::new();
    let families = prometheus::gather();
    TextEncoder::new().encode(&families, &mut text).expect("writing to memory does not fail");
    text
}
