//! Files that are either all there or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Replaces `path` by what `write` writes to the path it is given: first to a temporary file in
/// the same folder, brought to the disk, then renamed. If anything fails, the temporary file goes
/// and the old file stays.
///
/// # Errors
///
/// What `write` or the system says.
pub fn atomic_write(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As of any new file: the umask takes its part.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let temp = builder.tempfile_in(folder)?.into_temp_path();
    write(&temp)?;
    OpenOptions::new().write(true).open(&temp)?.sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    // The rename itself is durable once the folder is; not every file system can do that.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

/// [`atomic_write`] of bytes at hand.
///
/// # Errors
///
/// What the system says.
pub fn atomic_write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    atomic_write(path, |temp| fs::write(temp, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        atomic_write_bytes(&path, b"old").unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let failed = atomic_write(&path, |temp| {
            fs::write(temp, b"half of the ne")?;
            Err(full())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        atomic_write_bytes(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(atomic_write_bytes(&folder.path().join("no/where"), b"x").is_err());
    }
}
