//! A log of JSON lines, written by many threads.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Wall time in milliseconds since the epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One file of JSON lines.
pub struct Journal(Mutex<BufWriter<File>>);

impl Journal {
    /// An empty one in `directory`.
    pub fn create(directory: &Path, name: &str) -> Self {
        Self(Mutex::new(BufWriter::new(File::create(directory.join(name)).unwrap())))
    }

    /// Writes a line. It is safe from the death of every process but this one, which nobody kills.
    pub fn write(&self, line: &impl Serialize) {
        let mut text = serde_json::to_vec(line).unwrap();
        text.push(b'\n');
        self.0.lock().write_all(&text).unwrap();
    }

    /// Makes sure that all lines are in the file.
    pub fn flush(&self) {
        self.0.lock().flush().unwrap();
    }
}
