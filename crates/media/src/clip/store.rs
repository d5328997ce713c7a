//! Files and folders that are either all there or not at all. (The crate `tensor` does the same for
//! checkpoints, which are not known here.)

use super::frames;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Puts at `path` what `fill` writes: beside it first, brought to the disk, then renamed.
pub(super) fn file<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
) -> Result<T, E> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-").suffix(".tmp");
    permit(&mut builder, 0o666);
    let (file, temp) = builder.tempfile_in(parent(path))?.into_parts();
    let mut file = BufWriter::new(file);
    let filled = fill(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    sync(parent(path));
    Ok(filled)
}

/// Puts a folder of `count` files at `path`, each as `file` gives it: a name and contents. A folder of
/// frames that is there gives way; another one does not.
pub(super) fn folder<E: From<io::Error>>(
    path: &Path,
    count: usize,
    mut file: impl FnMut(usize) -> Result<(String, Vec<u8>), E>,
) -> Result<(), E> {
    check_replaceable(path)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-").suffix(".tmp");
    permit(&mut builder, 0o777);
    let temp = builder.tempdir_in(parent(path))?;
    for i in 0..count {
        let (name, bytes) = file(i)?;
        let mut file = File::create_new(temp.path().join(name))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
    }
    sync(temp.path());
    // A folder can be renamed over none but an empty one, so the old one steps aside.
    let old = builder.tempdir_in(parent(path))?;
    let aside = old.path().join("old");
    let was_there = path.exists();
    if was_there {
        fs::rename(path, &aside)?;
    }
    if let Err(error) = fs::rename(temp.path(), path) {
        if was_there {
            fs::rename(&aside, path)?;
        }
        return Err(error.into());
    }
    // It is no longer there to be removed.
    let _ = temp.keep();
    sync(parent(path));
    Ok(())
}

/// Refuses what is no folder, or has other things than frames in it.
fn check_replaceable(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        if !name.to_str().is_some_and(frames::is_name) {
            let message = format!("it holds `{}`, expected nothing but frames", name.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a rename durable, where the file system can.
fn sync(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
}

/// As of any new file: the umask takes its part.
fn permit(builder: &mut tempfile::Builder<'_, '_>, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = (builder, mode);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_folder_leaves_the_old_one_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("clip");
        let frame = |i: usize| Ok::<_, io::Error>((frames::name(i), vec![i as u8; 3]));
        folder(&path, 3, frame).unwrap();
        let full = |i: usize| match i {
            2 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => frame(i),
        };
        assert_eq!(folder(&path, 4, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(names(home.path()), ["clip"]);
        assert_eq!(names(&path), ["frame-000.png", "frame-001.png", "frame-002.png"]);
        folder(&path, 2, frame).unwrap();
        assert_eq!(names(&path), ["frame-000.png", "frame-001.png"]);
        assert_eq!(names(home.path()), ["clip"]);
    }

    #[test]
    fn other_folders_are_left_alone() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("thesis.txt"), "x").unwrap();
        let none = |_| Ok::<_, io::Error>((String::new(), Vec::new()));
        let error = folder(home.path(), 0, none).unwrap_err().to_string();
        assert_eq!(error, "it holds `thesis.txt`, expected nothing but frames");
        assert!(folder(&home.path().join("thesis.txt"), 0, none).is_err());
    }
}
