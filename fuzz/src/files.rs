//! Files made of bytes, for readers that want a path.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tensor::Checkpoint;

/// A folder of this process that the next input overwrites.
pub(crate) struct Folder(PathBuf);

thread_local! {
    static FOLDER: tempfile::TempDir =
        tempfile::tempdir().unwrap_or_else(|error| panic!("cannot make a folder: {error}"));
}

impl Folder {
    fn new() -> Self {
        Self(FOLDER.with(|folder| folder.path().to_owned()))
    }

    /// With `index` as the index of the shards `a.safetensors` and `b.safetensors`, which hold
    /// the tensors `a` and `b`, and with another file beside the folder's shards.
    pub(crate) fn with_index(index: &[u8]) -> Self {
        let folder = Self::new();
        for name in ["a", "b"] {
            let path = format!("{name}.safetensors");
            if !folder.0.join(&path).exists() {
                folder.write(&path, &file(one_tensor(name).as_bytes()));
            }
        }
        folder.write(tensor::safetensors::INDEX, index);
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        write(&path, bytes)
            .unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
    }

    /// Opens the folder.
    pub(crate) fn open(&self) -> Result<Checkpoint, tensor::Error> {
        Checkpoint::open(&self.0)
    }
}

/// Writes a file over the old one, which is not cut to nothing first: that is slow on some systems.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(false).write(true).open(path)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// Opens a file of these bytes, or with this header if they begin as JSON.
pub(crate) fn open_header(bytes: &[u8]) -> Result<Checkpoint, tensor::Error> {
    let folder = Folder::new();
    let made;
    let bytes = if bytes.starts_with(b"{") {
        made = file(bytes);
        &made
    } else {
        bytes
    };
    folder.write("x.safetensors", bytes);
    Checkpoint::open(Path::new(&folder.0.join("x.safetensors")))
}

/// Opens a GGUF file of these bytes.
pub(crate) fn open_gguf(bytes: &[u8]) -> Result<Checkpoint, tensor::Error> {
    let folder = Folder::new();
    folder.write("x.gguf", bytes);
    Checkpoint::open(&folder.0.join("x.gguf"))
}

fn one_tensor(name: &str) -> String {
    format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}")
}

/// A file with this header and the data that it describes, as far as that is short.
fn file(header: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(header);
    // The last number in the header of a good file is where its data ends.
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let data = numbers.filter(|&n: &usize| n <= 4096).max().unwrap_or(0);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len() + data, 0);
    bytes
}
