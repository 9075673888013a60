//! Every bound in one place, and how they relate.

use std::time::Duration;

/// Largest request body, in bytes (contract 2.1).
pub const BODY_BYTES: usize = 2 * 1024 * 1024;
/// Largest body of a batch publish, in bytes.
pub const BATCH_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Most events of one batch publish.
pub const BATCH_EVENTS: usize = 1000;
/// Largest `data` of an event, in bytes of compact JSON.
pub const DATA_BYTES: usize = 256 * 1024;
/// Deepest nesting of `data`.
pub const DATA_DEPTH: usize = 100;
/// Values that the variables of a GraphQL document may have, those within others counted, too …
pub const VARIABLE_VALUES: usize = 1000;
/// … and those of a document that only changes something: one event's `data` fits, whose shortest values take
/// two bytes each.
pub const MUTATION_VALUES: usize = DATA_BYTES / 2 + VARIABLE_VALUES;
/// Longest target URL, in characters, before parsing (contract 8.1).
pub const URL_CHARS: usize = 2048;
/// Most endpoint ids that a publish may name.
pub const TARGETS: usize = 25;
/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS: usize = 255;
/// Characters of an id that is given.
pub const ID_CHARS: usize = 128;
/// Longest trigger or session id, in characters.
pub const TRIGGER_ID_CHARS: usize = 128;
/// Longest name of anything, in characters.
pub const NAME_CHARS: usize = 120;
/// Most labels of an endpoint.
pub const LABELS: usize = 8;
/// Longest label, in characters.
pub const LABEL_CHARS: usize = 40;
/// Longest `key_id`, in characters.
pub const KEY_ID_CHARS: usize = 128;
/// Most subscribed event types of an endpoint, duplicates included.
pub const SUBSCRIPTIONS: usize = 64;

/// Endpoints of an organization unless the setting says otherwise.
pub const ENDPOINTS: usize = 50;
/// Encryption keys of an endpoint unless the setting says otherwise.
pub const KEYS: usize = 20;
/// API keys of an organization unless the setting says otherwise.
pub const API_KEYS: usize = 100;

/// Longest time that a replaced signing secret goes on signing.
pub const GRACE_PERIOD_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Requests a minute of one API key or dashboard user unless the setting says otherwise.
pub const REQUESTS_PER_MINUTE: usize = 600;
/// Most failed checks that a withdrawal may tell of.
pub const TRIES: u32 = 1000;

/// Page size when none is asked for.
pub const PAGE: usize = 10;
/// Largest page.
pub const PAGE_MAX: usize = 100;

/// Attempts in flight to one endpoint unless its setting says otherwise.
pub const WINDOW: usize = 64;
/// Largest window that an endpoint may set.
pub const WINDOW_MAX: usize = 1024;
/// Deliveries that an endpoint's actor holds claimed beyond its window, as far as their turn comes at once.
pub const CLAIMED_AHEAD: usize = 1024;
/// Largest rate that an endpoint may set, attempts per second.
pub const RATE_MAX: u32 = 10_000;
/// Delivery ids that wait in one endpoint's actor; the rest waits in the rows.
pub const LANE_QUEUE: usize = 1024;
/// Sealed bytes that one endpoint's attempts and claims hold; a single larger payload passes alone.
pub const ENDPOINT_BYTES: usize = 8 * 1024 * 1024;
/// Messages that wait for one endpoint actor. Reserved places never exceed what may be claimed, so a
/// reserved delivery always fits.
pub const ENDPOINT_MAILBOX: usize = WINDOW_MAX + CLAIMED_AHEAD + 1;
/// Messages that wait for the supervisor.
pub const SUPERVISOR_MAILBOX: usize = 4096;
/// Due times that the in-process schedule holds; the rest waits in the rows.
pub const SCHEDULE_ENTRIES: usize = 65_536;
/// Where several nodes tell what they commit, each tells it within this time, or a gap instead.
pub const TOLD_WITHIN: Duration = Duration::from_millis(500);
/// How long what fell due is left to whoever committed it before another node takes it up from the rows: so that what
/// comes of it is told after it. What it is longer than [`TOLD_WITHIN`] is for the commit.
pub const LULL: Duration = Duration::from_secs(1);
/// How long a due time that was passed on is kept, in case nothing comes of it.
pub const SCHEDULE_LEASE: Duration = Duration::from_secs(30);
/// How far ahead the schedule looks.
pub const SCHEDULE_HORIZON: Duration = Duration::from_secs(60);

/// Endpoints that intake remembers, with their keys; their organization counts as one more.
pub const MEMBERS_CACHED: usize = 131_072;

/// How long a publish waits for places that come free at once, at all of its endpoints together.
pub const PLACE_PATIENCE: Duration = Duration::from_millis(100);

/// Publishes of single events that are served at once. One more is refused before anything is sealed for it: it would
/// only wait behind the others, and whoever waits for long asks again.
pub const PUBLISHES_AT_ONCE: usize = 1024;
/// Writes that wait for the ledger; one more is refused.
pub const LEDGER_QUEUE: usize = 8192;
/// Rows of one ledger transaction.
pub const LEDGER_BATCH_ROWS: usize = 2048;
/// Sealed bytes of one ledger transaction.
pub const LEDGER_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Sealed bytes that may wait for their commit, all publishes together; one more is refused.
pub const SEALED_BYTES_UNCOMMITTED: usize = 64 * 1024 * 1024;
/// Largest sealed payload that is kept in memory from its commit to its first attempt; a larger one
/// is read from the rows, so that few hanging receivers cannot hold all that memory.
pub const RESERVED_BYTES: usize = 64 * 1024;
/// Sealed bytes that may wait in memory for the end of a first attempt; what is beyond is read from
/// the rows instead.
pub const SEALED_BYTES_IN_MEMORY: usize = 64 * 1024 * 1024;

/// Changes that the feed keeps for those who come back.
pub const FEED_CHANGES: usize = 32_768;

/// How long statistics are kept.
pub const TALLIES_KEPT: Duration = Duration::from_secs(8 * 24 * 3600);
/// Longest span of time that statistics are asked for.
pub const STATISTICS_SPAN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Connections to the API unless the setting says otherwise; what is beyond waits to be accepted.
pub const CONNECTIONS: usize = 32_768;
/// Connections that watch at once; one more is refused.
pub const LIVE_CONNECTIONS: usize = 16_384;
/// Those of one organization among them.
pub const LIVE_CONNECTIONS_EACH: usize = LIVE_CONNECTIONS / 8;
/// WebSockets beside them whose clients have yet to say who they are.
pub const LIVE_STRANGERS: usize = 1024;
/// Operations that one WebSocket runs at once.
pub const LIVE_OPERATIONS: usize = 100;
/// Largest message that a WebSocket takes, in bytes.
pub const SOCKET_MESSAGE_BYTES: usize = 64 * 1024;

/// Bytes of request bodies that come in more than one piece, all that are read or worked on together; one more
/// piece is refused.
pub const BODIES_BYTES: usize = 256 * 1024 * 1024;
/// Those of one organization among them.
pub const BODIES_BYTES_EACH: usize = BODIES_BYTES / 8;
/// Look-ups of keys that were not found before, at once …
pub const KEY_LOOKUPS: usize = 16;
/// … and those that wait for their turn; one more is refused.
pub const KEY_LOOKUPS_WAITING: usize = 1024;

/// Largest part of a receiver's answer that is read, in bytes.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// What a claim outlives its attempt by.
pub const CLAIM_SLACK: Duration = Duration::from_secs(15);
/// Claims a delivery may lose before it is parked as poisoned.
pub const LOST_CLAIMS: u32 = 3;
/// Longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// What we tell callers to wait when we are full or cut off.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

const _: () = assert!(STATISTICS_SPAN.as_secs() < TALLIES_KEPT.as_secs());
const _: () = assert!(PAGE <= PAGE_MAX);
// Those who watch leave as many for those who ask.
const _: () = assert!(2 * LIVE_CONNECTIONS <= CONNECTIONS);
const _: () = assert!(LIVE_STRANGERS < LIVE_CONNECTIONS_EACH);
const _: () = assert!(8 * BODY_BYTES <= BODIES_BYTES_EACH && 8 * BATCH_BODY_BYTES <= BODIES_BYTES);
const _: () = assert!(TOLD_WITHIN.as_millis() < LULL.as_millis());
const _: () = assert!(WINDOW <= WINDOW_MAX && WINDOW_MAX <= LANE_QUEUE);
const _: () = assert!(WINDOW_MAX + CLAIMED_AHEAD < ENDPOINT_MAILBOX);
const _: () = assert!(DATA_BYTES < BODY_BYTES && BODY_BYTES < BATCH_BODY_BYTES);
// Base64url of the ciphertext grows the payload by a third: one always fits a batch.
const _: () = assert!(DATA_BYTES * 2 < LEDGER_BATCH_BYTES);
const _: () = assert!(DATA_BYTES * 2 < ENDPOINT_BYTES);
const _: () = assert!(WINDOW * RESERVED_BYTES <= ENDPOINT_BYTES);
const _: () = assert!(LEDGER_BATCH_BYTES < SEALED_BYTES_UNCOMMITTED);
const _: () = assert!(PUBLISHES_AT_ONCE < LEDGER_QUEUE);
