//! The master key, which wraps the data keys: where it comes from, and what it does. The daemon knows it as a
//! [`KeyWrap`] alone, which a key management service could stand behind as well.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hookseal_core::error::{Error, Result};
use hookseal_core::ports::Secret;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::cipher::{KEY_BYTES, KeyBytes, key_id, lock, random_key, unlock};
use crate::crypto::sign::hmac_hex;

/// Name of the master key file that is made in the data directory when none is configured …
const MADE_FILE: &str = "master.key";
/// … and of the one that is to take its place.
const NEXT_FILE: &str = "master.key.new";
/// How long a command may take to print the key.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// The most of a command's output that is read.
const COMMAND_OUTPUT: u64 = 4096;
/// How long the source is left alone after it did not give the key that was wanted.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// What wrapped keys named before master keys had ids.
const NAMELESS: &str = "master";

/// Wraps data keys, as a key management service does: the key that wraps never leaves it.
#[async_trait]
pub trait KeyWrap: Send + Sync {
    /// Names the wrapping key. Whatever it wraps begins with this id and a dot.
    fn id(&self) -> String;

    /// Wraps `key`; it unwraps only in the same `context`.
    async fn wrap(&self, key: &KeyBytes, context: &str) -> Result<String>;

    /// Unwraps.
    ///
    /// # Errors
    /// [`Error::Broken`] when another key wrapped it, or it was changed since.
    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<KeyBytes>;
}

/// A master key in memory.
#[derive(Clone)]
pub struct MasterKey(KeyBytes);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

impl MasterKey {
    /// Reads the base64url of 32 bytes; `field` names where it came from.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).unwrap_or_default(),
        );
        let bytes = <[u8; KEY_BYTES]>::try_from(bytes.as_slice())
            .map_err(|_| Error::invalid(field, "base64url of 32 bytes"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }

    /// `mk_` and 8 hex digits that say nothing of the key.
    pub fn id(&self) -> String {
        let hex = hmac_hex(self.0.as_slice(), b"hookseal master key");
        format!("mk_{}", &hex[..8])
    }

    /// Reads the key file in `data_dir`, or makes one that only its owner can read.
    pub fn in_data_dir(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(MADE_FILE);
        match read_file(&path)? {
            Some(text) => Self::parse(MADE_FILE, &text),
            None => Self::make(&path),
        }
    }

    fn make(path: &Path) -> Result<Self> {
        let key = random_key();
        let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(key.as_slice()));
        write_new(path, &text).map_err(|error| Error::unavailable("the data directory", error))?;
        Ok(Self(key))
    }
}

/// Puts the next key file of `data_dir` in the place of the one before. To be called once the data keys are
/// wrapped by it.
pub fn settle_next(data_dir: &Path) -> Result<()> {
    let unavailable = |error| Error::unavailable("the data directory", error);
    match std::fs::rename(data_dir.join(NEXT_FILE), data_dir.join(MADE_FILE)) {
        // Another process was first.
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(()),
        renamed => renamed.and_then(|()| sync_directory(data_dir)).map_err(unavailable),
    }
}

fn read_file(path: &Path) -> Result<Option<Zeroizing<String>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::unavailable("the master key file", error)),
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    // Whatever it wraps is lost with it: it must be on disk before the first wrapped key is.
    file.sync_all()?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

/// Where a master key comes from. Errors name the setting.
#[derive(Clone, Debug)]
pub struct KeySource {
    setting: String,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Given(Secret),
    File(PathBuf),
    // What stands on a command line may let somebody in.
    Command(Secret),
    DataDir(PathBuf),
}

impl KeySource {
    /// The key itself.
    pub fn given(setting: &str, key: &str) -> Self {
        Self { setting: setting.to_owned(), origin: Origin::Given(Secret::new(key)) }
    }

    /// A file that holds it.
    pub fn file(setting: &str, path: impl Into<PathBuf>) -> Self {
        Self { setting: setting.to_owned(), origin: Origin::File(path.into()) }
    }

    /// A command that prints it: a program and its arguments between white space, run without a shell.
    pub fn command(setting: &str, line: &str) -> Self {
        Self { setting: setting.to_owned(), origin: Origin::Command(Secret::new(line)) }
    }

    /// The file in the data directory, which is made when it is missing.
    pub fn data_dir(path: impl Into<PathBuf>) -> Self {
        Self { setting: MADE_FILE.to_owned(), origin: Origin::DataDir(path.into()) }
    }

    /// The file of the key that is to take the place of the one in the data directory: that of a run which
    /// was broken off, or a new one. Both files are there until [`settle_next`].
    pub fn next_in_data_dir(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join(NEXT_FILE);
        let whole = |text: Zeroizing<String>| MasterKey::parse(NEXT_FILE, &text).is_ok();
        match read_file(&path)?.map(whole) {
            Some(true) => {}
            Some(false) => {
                // It was broken off while it was written; nothing is wrapped by half a key.
                std::fs::remove_file(&path)
                    .map_err(|error| Error::unavailable("the data directory", error))?;
                MasterKey::make(&path)?;
            }
            None => drop(MasterKey::make(&path)?),
        }
        Ok(Self::file(NEXT_FILE, path))
    }

    /// Reads the key; `wanted` is the id that the data keys name, once that is known. May take as long as a
    /// command may.
    fn read(&self, wanted: Option<&str>) -> Result<MasterKey> {
        match &self.origin {
            Origin::Given(key) => MasterKey::parse(&self.setting, key.expose()),
            Origin::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|_| Error::invalid(&self.setting, "a readable file"))?;
                MasterKey::parse(&self.setting, &Zeroizing::new(text))
            }
            Origin::Command(line) => {
                let printed = self.output(line.expose(), COMMAND_WITHIN)?;
                MasterKey::parse(&self.setting, &printed)
            }
            Origin::DataDir(path) => {
                let key = MasterKey::in_data_dir(path)?;
                let next = read_file(&path.join(NEXT_FILE))?
                    .and_then(|text| MasterKey::parse(NEXT_FILE, &text).ok())
                    .filter(|next| wanted.is_some_and(|id| next.id() == id && key.id() != id));
                // A change of the key was broken off after its commit.
                match next {
                    Some(next) => settle_next(path).map(|()| next),
                    None => Ok(key),
                }
            }
        }
    }

    fn output(&self, line: &str, within: Duration) -> Result<Zeroizing<String>> {
        let failed = || {
            let rule =
                "a command without a shell's syntax that prints the key and exits with 0 within";
            Error::invalid(&self.setting, format!("{rule} {within:?}"))
        };
        let deadline = Instant::now() + within;
        let mut words = line.split_whitespace();
        let mut child = Command::new(words.next().ok_or_else(failed)?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|_| failed())?;
        let stdout = child.stdout.take();
        let (sender, printed) = mpsc::channel();
        // A thread, because what the command has started may keep the pipe open without end.
        std::thread::spawn(move || {
            let mut text = Zeroizing::new(String::new());
            let read = stdout.map(|pipe| pipe.take(COMMAND_OUTPUT).read_to_string(&mut text));
            drop(sender.send(read.is_some_and(|read| read.is_ok()).then_some(text)));
        });
        let left = || deadline.saturating_duration_since(Instant::now());
        let text = printed.recv_timeout(within).ok().flatten();
        let status = loop {
            match child.try_wait() {
                Ok(None) if text.is_some() && !left().is_zero() => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Some(status)) => break Some(status),
                Ok(None) | Err(_) => {
                    // It may just have ended by itself.
                    drop(child.kill());
                    drop(child.wait());
                    break None;
                }
            }
        };
        text.filter(|_| status.is_some_and(|status| status.success())).ok_or_else(failed)
    }
}

/// A master key that this process holds.
#[derive(Debug)]
pub struct MasterWrap {
    source: KeySource,
    held: Mutex<MasterKey>,
    /// When the source was last asked again in vain. Whoever asks holds it.
    in_vain: tokio::sync::Mutex<Option<Instant>>,
}

impl MasterWrap {
    /// Reads the key from `source`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the setting that gave none.
    pub async fn open(source: KeySource) -> Result<Self> {
        let key = read(source.clone(), None).await?;
        Ok(Self { source, held: Mutex::new(key), in_vain: tokio::sync::Mutex::default() })
    }

    /// Asks the source again, where the key was changed while this process ran.
    async fn read_again(&self, wanted: &str) {
        let mut in_vain = self.in_vain.lock().await;
        if self.id() == wanted || in_vain.is_some_and(|at| at.elapsed() < READ_AGAIN_AFTER) {
            return;
        }
        *in_vain = Some(Instant::now());
        match read(self.source.clone(), Some(wanted.to_owned())).await {
            Ok(key) if key.id() == wanted => {
                *self.held.lock() = key;
                *in_vain = None;
            }
            // What is held is compared next, and found to be another.
            Ok(_) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the master key was not read again");
            }
        }
    }
}

async fn read(source: KeySource, wanted: Option<String>) -> Result<MasterKey> {
    let read = move || source.read(wanted.as_deref());
    let reading = tokio::task::spawn_blocking(read).await;
    reading.unwrap_or_else(|panic| Err(Error::broken("the master key", panic)))
}

#[async_trait]
impl KeyWrap for MasterWrap {
    fn id(&self) -> String {
        self.held.lock().id()
    }

    async fn wrap(&self, key: &KeyBytes, context: &str) -> Result<String> {
        let master = self.held.lock().clone();
        Ok(lock(&master.0, &master.id(), context, key.as_slice()))
    }

    async fn unwrap(&self, wrapped: &str, context: &str) -> Result<KeyBytes> {
        let named = key_id(wrapped);
        if named != NAMELESS && named != self.id() {
            self.read_again(named).await;
        }
        let master = self.held.lock().clone();
        let opened = unlock(&master.0, context, wrapped)
            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
        opened.map(Zeroizing::new).ok_or_else(|| {
            let held = master.id();
            let cause = match named {
                NAMELESS => format!("the database was made with another one than {held}"),
                _ if named == held => format!("{held} does not open a data key that names it"),
                _ => format!("the database was made with another master key: {named}, not {held}"),
            };
            Error::broken("the master key", cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(byte: u8) -> String {
        URL_SAFE_NO_PAD.encode([byte; 32])
    }

    fn read(source: &KeySource) -> Result<String> {
        source.read(None).map(|key| key.id())
    }

    #[test]
    fn a_master_key_is_32_bytes_of_base64url() {
        assert!(MasterKey::parse("master_key", &text(7)).is_ok());
        for bad in ["", "short", &URL_SAFE_NO_PAD.encode([7; 31]), "!"] {
            assert!(matches!(
                MasterKey::parse("master_key", bad),
                Err(Error::Invalid { field, .. }) if field == "master_key"
            ));
        }
    }

    #[test]
    fn an_id_tells_keys_apart_and_shows_none() {
        let [one, other] = [1, 2].map(|n| MasterKey::parse("k", &text(n)).expect("a key"));
        assert_ne!(one.id(), other.id());
        assert_eq!((one.id().len(), one.id()), (11, one.clone().id()));
        assert_eq!(format!("{one:?}"), format!("MasterKey({})", one.id()));
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let first = MasterKey::in_data_dir(directory.path()).expect("made");
        let again = MasterKey::in_data_dir(directory.path()).expect("read");
        assert_eq!(first.id(), again.id());
        let file = std::fs::metadata(directory.path().join(MADE_FILE)).expect("there");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_next_key_file_is_taken_only_by_a_database_that_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = KeySource::data_dir(directory.path());
        let first = read(&source).expect("made");
        std::fs::write(directory.path().join(NEXT_FILE), "half").expect("written");
        let next = || read(&KeySource::next_in_data_dir(directory.path()).expect("a file"));
        let next = [next(), next()].map(|id| id.expect("a key"));
        assert_eq!(next[0], next[1], "it is made once");
        let [next, _] = next;
        let reads = |wanted: &str| source.read(Some(wanted)).expect("a key").id();
        for (wanted, taken) in [(&first, &first), (&"mk_other".into(), &first), (&next, &next)] {
            assert_eq!(reads(wanted), *taken, "{wanted}");
        }
        assert!(!directory.path().join(NEXT_FILE).exists(), "it took the former one's place");
        assert_eq!(read(&source).expect("a key"), next);
        settle_next(directory.path()).expect("nothing is left to do");
    }

    #[test]
    fn a_command_prints_the_key_in_time_or_its_setting_is_named() {
        let command = |line: &str| read(&KeySource::command("master_key_command", line));
        let id = MasterKey::parse("k", &text(7)).expect("a key").id();
        assert_eq!(command(&format!("echo  {}", text(7))).expect("printed"), id);
        for bad in ["", "/nonexistent/program", "false", "echo short", "yes", "echo $KEY"] {
            match command(bad) {
                Err(Error::Invalid { field, expected }) => {
                    assert_eq!(field, "master_key_command", "{bad}");
                    assert!(!expected.contains("echo") && !expected.contains("short"));
                }
                other => panic!("{bad} gave {other:?}"),
            }
        }
        let source = KeySource::command("master_key_command", "vault --token canary");
        let within = Duration::from_millis(50);
        for endless in ["sleep 60", "tail -f /dev/null"] {
            assert!(source.output(endless, within).is_err(), "{endless}");
        }
        assert!(!format!("{source:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_in_its_context_under_its_own_key() {
        let wrap = async |byte| {
            let source = KeySource::given("master_key", &text(byte));
            MasterWrap::open(source).await.expect("a key")
        };
        let (one, other) = (wrap(1).await, wrap(2).await);
        let key = random_key();
        let wrapped = one.wrap(&key, "here").await.expect("wrapped");
        assert!(wrapped.starts_with(&format!("{}.", one.id())));
        assert_eq!(*one.unwrap(&wrapped, "here").await.expect("opens"), *key);
        assert!(one.unwrap(&wrapped, "there").await.is_err());
        let refused = other.unwrap(&wrapped, "here").await.expect_err("another key");
        let cause = std::error::Error::source(&refused).expect("a cause").to_string();
        assert!(cause.contains(&one.id()) && cause.contains(&other.id()), "{cause}");
        // As it was wrapped before keys had ids.
        let nameless = wrapped.replacen(&one.id(), NAMELESS, 1);
        assert_eq!(*one.unwrap(&nameless, "here").await.expect("opens"), *key);
        assert!(other.unwrap(&nameless, "here").await.is_err());
    }

    #[tokio::test]
    async fn a_file_whose_key_was_changed_is_read_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text(1)).expect("written");
        let source = KeySource::file("master_key_file", file.path());
        let running = MasterWrap::open(source.clone()).await.expect("a key");
        std::fs::write(file.path(), text(2)).expect("written");
        let changed = MasterWrap::open(source).await.expect("a key");
        let wrapped = changed.wrap(&random_key(), "here").await.expect("wrapped");
        assert!(running.unwrap(&wrapped, "here").await.is_ok());
        assert_eq!(running.id(), changed.id());
    }
}
