//! Files that are whole and durable or not there at all, and that nobody else reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::Error;

/// Of a file with a secret in it.
pub(crate) const PRIVATE: u32 = 0o600;
/// Of a file that everybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Creates a folder, and those above it, that only we may enter.
pub(crate) fn private_dir(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| failed(path, source))
}

/// Writes a file whole and durable: a temporary one, fsync, rename, fsync of the folder.
pub(crate) fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    write_whole(path, mode, bytes).map_err(|source| failed(path, source))
}

fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    // What a crash left would keep its mode.
    match fs::remove_file(&tmp) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// Reads a file; none when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

/// Holds off everybody else who takes the same lock, until it is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(path);
    let locked = open().and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| failed(path, source))
}

pub(crate) fn failed(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
