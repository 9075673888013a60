//! Where a master key comes from: a setting, a file, a command, or the data directory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hookseal_core::error::{Error, Result};
use hookseal_core::ports::Secret;
use zeroize::Zeroizing;

use super::key_file::{self, MADE_FILE, NEXT_FILE};
use super::master::MasterKey;
use crate::private_file;

/// How long a command may take to print the key.
const COMMAND_WITHIN: Duration = Duration::from_secs(10);
/// The most of a command's output that is read.
const COMMAND_OUTPUT: u64 = 4096;

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

    /// The next key file of the data directory, which is made when it is missing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be made.
    pub fn next_in_data_dir(data_dir: &Path) -> Result<Self> {
        Ok(Self::file(NEXT_FILE, key_file::make_next(data_dir)?))
    }

    /// Whether it is read again when the database names another key: a key that was given stays as it was.
    pub fn is_read_again(&self) -> bool {
        match self.origin {
            Origin::Given(_) => false,
            Origin::File(_) | Origin::Command(_) | Origin::DataDir(_) => true,
        }
    }

    /// Reads the key; `wanted` is the id that the data keys name, once that is known. May take as long as a
    /// command may.
    pub(super) fn read(&self, wanted: Option<&str>) -> Result<MasterKey> {
        match &self.origin {
            Origin::Given(key) => MasterKey::parse(&self.setting, key.expose()),
            Origin::File(path) => {
                let unreadable = |_| Error::invalid(&self.setting, "a readable file");
                let mut file = File::open(path).map_err(unreadable)?;
                private_file::judge(&self.setting, &file)?;
                let mut text = Zeroizing::new(String::new());
                file.read_to_string(&mut text).map_err(unreadable)?;
                MasterKey::parse(&self.setting, &text)
            }
            Origin::Command(line) => {
                let printed = self.output(line.expose(), COMMAND_WITHIN)?;
                MasterKey::parse(&self.setting, &printed)
            }
            Origin::DataDir(path) => {
                let key = key_file::current(path)?;
                let next = key_file::next(path)?
                    .filter(|next| wanted.is_some_and(|id| next.id() == id && key.id() != id));
                // A change of the key was broken off after its commit.
                match next {
                    Some(next) => key_file::settle_next(path).map(|()| next),
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn read(source: &KeySource) -> Result<String> {
        source.read(None).map(|key| key.id())
    }

    #[test]
    fn the_next_key_file_is_taken_only_by_a_database_that_names_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = KeySource::data_dir(directory.path());
        let first = read(&source).expect("made");
        let half = KeySource::next_in_data_dir(directory.path()).map(drop);
        half.expect("made");
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
        key_file::settle_next(directory.path()).expect("nothing is left to do");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_wherever_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let made = KeySource::data_dir(directory.path());
        let id = read(&made).expect("made");
        let path = directory.path().join(MADE_FILE);
        let named = KeySource::file("master_key_file", &path);
        for (mode, fits) in [(0o604, false), (0o640, true), (0o602, false), (0o400, true)] {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("its mode is changed");
            for (source, setting) in [(&made, MADE_FILE), (&named, "master_key_file")] {
                match read(source) {
                    Ok(found) => assert!(fits && found == id, "{mode:o}"),
                    Err(Error::Invalid { field, .. }) => assert!(!fits && field == setting),
                    Err(other) => panic!("{mode:o} gave {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_command_prints_the_key_in_time_or_its_setting_is_named() {
        let text = URL_SAFE_NO_PAD.encode([7; 32]);
        let command = |line: &str| read(&KeySource::command("master_key_command", line));
        let id = MasterKey::parse("k", &text).expect("a key").id();
        assert_eq!(command(&format!("echo  {text}")).expect("printed"), id);
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
}
