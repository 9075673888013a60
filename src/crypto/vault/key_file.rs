//! The file in the data directory that holds the master key when none is configured, and beside it, while the key is
//! changed, the one that is to take its place.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use hookseal_core::error::{Error, Result};
use zeroize::Zeroizing;

use super::master::MasterKey;
use crate::private_file;

/// Name of the file …
pub(super) const MADE_FILE: &str = "master.key";
/// … and of the next one.
pub(super) const NEXT_FILE: &str = "master.key.new";

/// Reads the key in `data_dir`, or makes one that only its owner can read.
///
/// # Errors
/// [`Error::Invalid`] names the file when it holds no key, or others may read it.
pub(super) fn current(data_dir: &Path) -> Result<MasterKey> {
    match read(data_dir, MADE_FILE)? {
        Some(text) => MasterKey::parse(MADE_FILE, &text),
        None => make(&data_dir.join(MADE_FILE)),
    }
}

/// Reads the next key, if there is a whole one.
pub(super) fn next(data_dir: &Path) -> Result<Option<MasterKey>> {
    let text = read(data_dir, NEXT_FILE)?;
    Ok(text.and_then(|text| MasterKey::parse(NEXT_FILE, &text).ok()))
}

/// The next key's file: that of a run which was broken off, or a new one. Both files are there until
/// [`settle_next`].
pub(super) fn make_next(data_dir: &Path) -> Result<PathBuf> {
    let path = data_dir.join(NEXT_FILE);
    if next(data_dir)?.is_none() {
        // One that was broken off while it was written: nothing is wrapped by half a key.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(unavailable(error)),
            Ok(()) | Err(_) => drop(make(&path)?),
        }
    }
    Ok(path)
}

/// Puts the next key file of `data_dir` in the place of the one before. To be called once the data keys are
/// wrapped by it.
pub fn settle_next(data_dir: &Path) -> Result<()> {
    match std::fs::rename(data_dir.join(NEXT_FILE), data_dir.join(MADE_FILE)) {
        // Another process was first.
        Err(missing) if missing.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed.and_then(|()| sync_directory(data_dir)).map_err(unavailable),
    }
}

fn read(data_dir: &Path, name: &str) -> Result<Option<Zeroizing<String>>> {
    let unreadable = |error| Error::unavailable("the master key file", error);
    let mut file = match File::open(data_dir.join(name)) {
        Ok(file) => file,
        Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    private_file::judge(name, &file)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

fn make(path: &Path) -> Result<MasterKey> {
    let key = MasterKey::random();
    write_new(path, &key.text()).map_err(unavailable)?;
    Ok(key)
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

fn unavailable(error: std::io::Error) -> Error {
    Error::unavailable("the data directory", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let first = current(directory.path()).expect("made");
        let again = current(directory.path()).expect("read");
        assert_eq!(first.id(), again.id());
        let file = std::fs::metadata(directory.path().join(MADE_FILE)).expect("there");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}
