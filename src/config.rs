//! Settings: `hookseal.toml`, then the environment, which wins. The same names in both: `listen` in
//! the file is `HOOKSEAL_LISTEN` in the environment. A name that nobody knows is refused, so that a
//! misspelt setting is not silently the default.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hookseal_core::admin::Quotas;
use hookseal_core::error::{Error, Result};
use hookseal_core::event::{Catalogue, EventType};
use hookseal_core::limits::{API_KEYS, CONNECTIONS, ENDPOINTS, KEYS, REQUESTS_PER_MINUTE};
use hookseal_core::ports::Secret;
use hookseal_core::retry::{RetrySchedule, parse_duration};
use hookseal_core::target::{Network, TargetRules};

use crate::crypto::vault::KeySource;
use crate::listener::CertificateFiles;
use crate::redis_link::{self, RedisLink};

/// The file that is read when it is there.
const FILE: &str = "hookseal.toml";
/// What the names in the environment begin with.
const PREFIX: &str = "HOOKSEAL_";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, a JSON object a line.
    Json,
}

/// Settings of dashboard sessions.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// Shared secret of tokens signed by HS256.
    pub secret: Option<Secret>,
    /// A file with a JWK set that tokens may be signed by.
    pub jwks_file: Option<PathBuf>,
    /// `iss` that tokens must have.
    pub issuer: Option<String>,
    /// `aud` that tokens must have.
    pub audience: Option<String>,
    /// Name of the cookie that may carry the token.
    pub cookie: String,
    /// Origins of dashboards, such as `https://dashboard.example.com`.
    pub origins: Vec<String>,
}

impl Sessions {
    fn take(settings: &mut Settings) -> Result<Self> {
        let rule = "origins such as https://dashboard.example.com, separated by commas";
        let origins = settings.take("dashboard_origins", rule, |value| {
            value.split(',').map(|text| origin(text.trim())).collect()
        })?;
        Ok(Self {
            secret: settings.text("session_secret").map(Secret::new),
            jwks_file: settings.text("session_jwks_file").map(PathBuf::from),
            issuer: settings.text("session_issuer"),
            audience: settings.text("session_audience"),
            cookie: settings
                .take("session_cookie", "a name of letters, digits, - and _", |value| {
                    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                    value.bytes().all(plain).then(|| value.to_owned())
                })?
                .unwrap_or_else(|| "hookseal_session".to_owned()),
            origins: origins.unwrap_or_default(),
        })
    }
}

/// An origin as browsers send it; none when `text` is anything more or less.
fn origin(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let origin = url.origin().ascii_serialization();
    (matches!(url.scheme(), "http" | "https") && origin == text).then_some(origin)
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// What the API shows to those who speak TLS with it; without, it speaks none.
    pub certificate: Option<CertificateFiles>,
    /// Connections to the API at once; what is beyond waits to be accepted.
    pub connections: usize,
    /// Where the embedded database and the made master key are.
    pub data_dir: PathBuf,
    /// Another database than the embedded one.
    pub database_url: Option<Secret>,
    /// Redis, for what several processes share.
    pub redis: Option<RedisLink>,
    /// What this node is called where there are several.
    pub node_name: String,
    /// How long a node may be out of sight before others take its endpoints over.
    pub node_lease: Duration,
    /// Where the master key comes from, where that is not the data directory.
    pub master_key: Option<KeySource>,
    /// The master key that `hookseal rekey` changes to.
    pub new_master_key: Option<KeySource>,
    /// Allows `http:` and loopback targets.
    pub dev: bool,
    /// Whether callers may ask for the GraphQL schema.
    pub introspection: bool,
    /// Networks that targets may resolve into though they are not public.
    pub allow_targets: Vec<Network>,
    /// Name servers to ask instead of those of the system.
    pub dns_servers: Vec<SocketAddr>,
    /// A PEM file of authorities that receivers' certificates may be of, beside the system's.
    pub extra_ca_file: Option<PathBuf>,
    /// A platform key that is accepted beside those in the database.
    pub platform_key: Option<Secret>,
    /// Pauses between attempts.
    pub retry_schedule: RetrySchedule,
    /// Deadline over one exchange with a receiver.
    pub attempt_timeout: Duration,
    /// How long attempts in flight may go on after a stop was asked for.
    pub drain_timeout: Duration,
    /// How long an endpoint's actor stays without work.
    pub idle_after: Duration,
    /// How long events without a retained payload stay.
    pub history: Duration,
    /// How much an organization may have.
    pub quotas: Quotas,
    /// Requests a minute of one API key or dashboard user.
    pub requests_per_minute: u32,
    /// What dashboard sessions are signed with, and where they come from.
    pub sessions: Sessions,
    /// Log filter.
    pub log: String,
    /// Log format.
    pub log_format: LogFormat,
    /// Event types.
    pub catalogue: Catalogue,
}

impl Config {
    /// Reads the file, when it is there, and the environment.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting and what was expected.
    pub fn load() -> Result<Self> {
        let file = std::env::var_os("HOOKSEAL_CONFIG").map(PathBuf::from);
        let named = file.is_some();
        let path = file.unwrap_or_else(|| PathBuf::from(FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if !named && missing.kind() == std::io::ErrorKind::NotFound => {
                String::new()
            }
            Err(_) => return Err(Error::invalid("HOOKSEAL_CONFIG", "a readable file")),
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(PREFIX)?.to_ascii_lowercase();
            (name != "config").then(|| (name, value.to_string_lossy().into_owned()))
        });
        Self::read(&text, environment)
    }

    /// Reads settings from the text of a file and from an environment.
    pub fn read(
        file: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let mut settings = Settings::from_file(file)?;
        for (name, value) in environment {
            settings.values.insert(name, value);
        }
        let config = Self {
            listen: settings
                .take("listen", "an address such as 127.0.0.1:8787", |v| v.parse().ok())?
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8787))),
            certificate: settings.certificate()?,
            connections: settings.count("connections", CONNECTIONS)?,
            data_dir: settings
                .text("data_dir")
                .map_or_else(|| "./hookseal-data".into(), PathBuf::from),
            database_url: settings.text("database_url").map(Secret::new),
            redis: settings.take("redis_url", redis_link::EXPECTED, RedisLink::parse)?,
            node_name: settings.text("node_name").unwrap_or_else(host_name),
            node_lease: settings.duration("node_lease", 1000..=60_000, 10_000)?,
            master_key: settings.master_key()?,
            new_master_key: settings
                .text("new_master_key")
                .map(|key| KeySource::given("new_master_key", &key)),
            dev: settings.flag("dev", false)?,
            introspection: settings.flag("introspection", true)?,
            allow_targets: settings
                .take("allow_targets", "networks such as 10.0.0.0/8,fd00::/8", |v| {
                    v.split(',').map(Network::parse).collect()
                })?
                .unwrap_or_default(),
            dns_servers: settings
                .take("dns_servers", "addresses such as 10.0.0.53:53,[fd00::53]:53", |v| {
                    v.split(',').map(|text| text.trim().parse().ok()).collect()
                })?
                .unwrap_or_default(),
            extra_ca_file: settings.text("extra_ca_file").map(PathBuf::from),
            platform_key: settings
                .take("platform_key", "at least 16 characters", |v| {
                    (v.len() >= 16).then(|| v.to_owned())
                })?
                .map(Secret::new),
            retry_schedule: settings
                .take("retry_schedule", RetrySchedule::EXPECTED, |v| v.parse().ok())?
                .unwrap_or_default(),
            attempt_timeout: settings.duration("attempt_timeout", 100..=300_000, 15_000)?,
            drain_timeout: settings.duration("drain_timeout", 0..=3_600_000, 8_000)?,
            idle_after: settings.duration("idle_after", 100..=86_400_000, 30_000)?,
            history: settings.duration("history", 60_000..=315_360_000_000, 2_592_000_000)?,
            quotas: Quotas {
                endpoints: settings.count("endpoints_per_organization", ENDPOINTS)?,
                keys: settings.count("keys_per_endpoint", KEYS)?,
                api_keys: settings.count("api_keys_per_organization", API_KEYS)?,
            },
            requests_per_minute: settings
                .count("requests_per_minute", REQUESTS_PER_MINUTE)?
                .try_into()
                .unwrap_or(u32::MAX),
            sessions: Sessions::take(&mut settings)?,
            log: settings.text("log").unwrap_or_else(|| "hookseal=info,warn".to_owned()),
            log_format: settings
                .take("log_format", "text or json", |v| match v {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                })?
                .unwrap_or(LogFormat::Text),
            catalogue: settings.catalogue()?,
        };
        settings.nothing_left()?;
        Ok(config)
    }

    /// Which targets may be called.
    pub fn target_rules(&self) -> Arc<TargetRules> {
        Arc::new(TargetRules { development: self.dev, allowed: self.allow_targets.clone() })
    }

    /// Whether several nodes may share the database: then each holds a share of the endpoints.
    pub fn is_shared(&self) -> bool {
        !self.is_embedded() && self.redis.is_some()
    }

    /// Whether the database is the embedded one.
    pub fn is_embedded(&self) -> bool {
        self.database_url.as_ref().is_none_or(|url| url.expose().starts_with("sqlite:"))
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// What was set and not yet taken.
struct Settings {
    values: BTreeMap<String, String>,
    event_types: Option<Vec<EventType>>,
}

impl Settings {
    fn from_file(file: &str) -> Result<Self> {
        let table: toml::Table =
            file.parse().map_err(|_| Error::invalid(FILE, "well-formed TOML"))?;
        let mut settings = Self { values: BTreeMap::new(), event_types: None };
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                types @ toml::Value::Array(_) if name == "event_types" => {
                    let types = types.try_into().map_err(|_| {
                        Error::invalid(
                            "event_types",
                            "an array of tables with name and trigger_types",
                        )
                    })?;
                    settings.event_types = Some(types);
                    continue;
                }
                _ => return Err(Error::invalid(name, "text, a number, true or false")),
            };
            settings.values.insert(name, text);
        }
        Ok(settings)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    fn master_key(&mut self) -> Result<Option<KeySource>> {
        type Make = fn(&str, &str) -> KeySource;
        let ways: [(&str, Make); 3] = [
            ("master_key", KeySource::given),
            ("master_key_file", |setting, path| KeySource::file(setting, path)),
            ("master_key_command", KeySource::command),
        ];
        let mut found: Option<(&str, KeySource)> = None;
        for (setting, source) in ways {
            let Some(value) = self.text(setting) else { continue };
            if let Some((first, _)) = found {
                return Err(Error::invalid(setting, format!("nothing, since {first} is set")));
            }
            found = Some((setting, source(setting, &value)));
        }
        Ok(found.map(|(_, source)| source))
    }

    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.text(name) {
            None => Ok(None),
            Some(value) => match parse(&value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(Error::invalid(name, expected)),
            },
        }
    }

    fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        let flag = self.take(name, "1, 0, true or false", |value| match value {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        })?;
        Ok(flag.unwrap_or(default))
    }

    fn duration(
        &mut self,
        name: &str,
        range_ms: std::ops::RangeInclusive<u64>,
        default_ms: u64,
    ) -> Result<Duration> {
        let [least, most] = [range_ms.start(), range_ms.end()].map(|ms| Duration::from_millis(*ms));
        let expected =
            format!("a duration such as 250ms, 15s, 5m or 2h, from {least:?} to {most:?}");
        let found = self.take(name, &expected, |value| {
            parse_duration(value).filter(|duration| (least..=most).contains(duration))
        })?;
        Ok(found.unwrap_or(Duration::from_millis(default_ms)))
    }

    fn count(&mut self, name: &str, default: usize) -> Result<usize> {
        let count = self.take(name, "an integer from 1 to 1000000", |value| {
            value.parse().ok().filter(|count| (1..=1_000_000).contains(count))
        })?;
        Ok(count.unwrap_or(default))
    }

    fn certificate(&mut self) -> Result<Option<CertificateFiles>> {
        match (self.text("tls_cert_file"), self.text("tls_key_file")) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => {
                Ok(Some(CertificateFiles { chain: chain.into(), key: key.into() }))
            }
            (Some(_), None) => {
                Err(Error::invalid("tls_key_file", "a file, since tls_cert_file is set"))
            }
            (None, Some(_)) => {
                Err(Error::invalid("tls_cert_file", "a file, since tls_key_file is set"))
            }
        }
    }

    fn catalogue(&mut self) -> Result<Catalogue> {
        self.event_types.take().map_or_else(|| Ok(Catalogue::default()), Catalogue::new)
    }

    fn nothing_left(self) -> Result<()> {
        match self.values.into_iter().find(|(_, value)| !value.is_empty()) {
            None => Ok(()),
            Some((name, _)) => {
                Err(Error::invalid(name, "a known setting (see docs/operations.md)"))
            }
        }
    }
}

/// Makes the data directory, readable by its owner only.
pub fn make_data_dir(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::unavailable("the data directory", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, environment: &[(&str, &str)]) -> Result<Config> {
        let pairs = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Config::read(file, pairs)
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let config = read("", &[]).expect("defaults");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8787");
        assert_eq!(config.data_dir, Path::new("./hookseal-data"));
        assert!(!config.dev && config.is_embedded() && config.platform_key.is_none());
        assert_eq!(config.retry_schedule, RetrySchedule::default());
        assert_eq!(config.attempt_timeout, Duration::from_secs(15));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nattempt_timeout = \"3s\"\ndev = true";
        let config = read(file, &[("listen", "127.0.0.1:2")]).expect("valid");
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.attempt_timeout, Duration::from_secs(3));
        assert!(config.dev);
    }

    #[test]
    #[rustfmt::skip] // the columns carry the meaning
    fn bad_settings_are_named() {
        for (name, value) in [
            ("listen",                     "localhost"),
            ("dev",                        "yes"),
            ("platform_key",               "short"),
            ("retry_schedule",             "5"),
            ("attempt_timeout",            "0s"),
            ("attempt_timeout",            "forever"),
            ("log_format",                 "xml"),
            ("endpoints_per_organization", "0"),
            ("allow_targets",              "10.0.0.0"),
            ("dns_servers",                "10.0.0.53"),
            ("dns_servers",                "dns.example.com:53"),
            ("requests_per_minute",        "0"),
            ("connections",                "0"),
            ("session_cookie",             "a=b"),
            ("dashboard_origins",          "https://a.example/path"),
            ("dashboard_origins",          "ftp://a.example"),
            ("redis_url",                  "http://localhost"),
            ("redis_url",                  "redis+sentinel://localhost:26379"),
            ("lissten",                    "127.0.0.1:1"),
        ] {
            match read("", &[(name, value)]) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, name),
                other => panic!("expected {name} at fault: {other:?}"),
            }
        }
        assert!(read("listen = ", &[]).is_err());
        for (set, missing) in [("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")]
        {
            match read("", &[(set, "x.pem")]) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, missing),
                other => panic!("expected {missing} at fault: {other:?}"),
            }
        }
    }

    #[test]
    fn no_secret_is_in_what_is_shown_of_the_settings() {
        let settings = [
            ("platform_key", "canary-canary-canary"),
            ("database_url", "postgres://hookseal:canary@127.0.0.1/hookseal"),
            ("redis_url", "redis+sentinel://hookseal:canary@127.0.0.1/service"),
            ("master_key_command", "show --token canary"),
            ("new_master_key", "canary"),
            ("session_secret", "canary-canary-canary-canary-canary"),
        ];
        let shown = format!("{:?}", read("", &settings).expect("valid"));
        assert!(!shown.contains("canary") && shown.contains("[secret]"), "{shown}");
    }

    #[test]
    fn a_master_key_comes_from_one_place() {
        let [key, file, command] = ["master_key", "master_key_file", "master_key_command"];
        for (first, second) in [(key, file), (key, command), (file, command)] {
            assert!(read("", &[(first, "x")]).expect("valid").master_key.is_some());
            match read("", &[(first, "x"), (second, "y")]) {
                Err(Error::Invalid { field, .. }) => assert_eq!(field, second),
                other => panic!("expected {second} at fault: {other:?}"),
            }
        }
    }

    #[test]
    fn the_catalogue_can_be_replaced() {
        let file = r#"
            [[event_types]]
            name = "invoice.paid"
            trigger_types = ["invoice"]
            trigger_member = "invoice_id"
            default_subscribed = true
        "#;
        let catalogue = read(file, &[]).expect("valid").catalogue;
        assert_eq!(catalogue.names().map(|name| &**name).collect::<Vec<_>>(), ["invoice.paid"]);
        assert!(read("[[event_types]]\nname = \"x\"", &[]).is_err());
    }
}
