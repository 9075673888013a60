//! What daemons and their servers leave behind. A run of the whole suite keeps it, to be searched for secrets
//! once all has ended (`leaks.rs`).

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::{Builder, TempDir};

/// In every payload that tests publish.
pub const CANARY: &str = "canary-3f9a1c77d2e84b06";

/// The file that tests put secrets into that were shown to them.
pub const SECRETS: &str = "secrets-of-the-tests";

/// Where the run keeps everything, if it does.
pub fn kept() -> Option<PathBuf> {
    std::env::var_os("TEST_LEAVINGS").map(PathBuf::from)
}

/// A directory of its own for one `kind` of server; removed when dropped, unless the run keeps everything.
pub fn directory(kind: &str) -> TempDir {
    let place = kept();
    let mut builder = Builder::new();
    builder.prefix(kind).disable_cleanup(place.is_some());
    builder.tempdir_in(place.as_deref().unwrap_or(&std::env::temp_dir())).unwrap()
}

/// Remembers the signing secrets and API keys that an answer shows: they must not be left behind.
pub fn must_not_hold(answer: &str) {
    let Some(place) = kept() else { return };
    // Whole words: a public key or a sealed payload may well have such a prefix somewhere in its base64.
    for word in
        answer.split(|symbol: char| !symbol.is_ascii_alphanumeric() && !"_-".contains(symbol))
    {
        let secret = ["whsec_", "kk_"].iter().find_map(|prefix| word.strip_prefix(prefix));
        if secret.is_some_and(|secret| secret.len() == 32 && !secret.contains(['_', '-'])) {
            append(&place, SECRETS, word).unwrap();
        }
    }
}

/// Adds a line to `file` in `directory`, as a whole.
pub fn append(directory: &Path, file: &str, line: &str) -> std::io::Result<()> {
    let mut file = File::options().create(true).append(true).open(directory.join(file))?;
    file.write_all(format!("{line}\n").as_bytes())
}
