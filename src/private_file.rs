//! Files that hold a key: one that anybody may read is refused, since somebody may have.

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;

use hookseal_core::error::{Error, Result};

/// Mode bits that let anybody at all read, write or run a file.
const OTHERS: u32 = 0o007;

/// Judges the file that `setting` names.
///
/// # Errors
/// [`Error::Invalid`] names the setting when others than the file's owner and group may do anything with it.
pub(crate) fn judge(setting: &str, file: &File) -> Result<()> {
    let unreadable = |_| Error::invalid(setting, "a readable file");
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & OTHERS == 0 {
        Ok(())
    } else {
        Err(Error::invalid(setting, "a file that others may not read (chmod o-rwx)"))
    }
}
