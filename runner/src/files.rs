//! Small files that must be whole and durable, or not there at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::de::DeserializeOwned;

/// The system's flag by which a last part that is a link is an error.
const NO_LINK: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Writes `name` in `dir` whole and durable: a temporary file, fsync, rename, fsync of the folder. Mode 0600.
pub(crate) fn write_durable(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let tmp = dir.join(format!("{name}.tmp"));
    let mut file = private_file(&tmp)?;
    // The space may have been reserved: what is there is written over, not given back first.
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()?;
    fs::rename(&tmp, dir.join(name))?;
    sync_dir(dir)
}

/// Replaces `name` in `dir` whole, for whoever reads it now; a crash of the host may lose it.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let tmp = dir.join(format!("{name}.tmp"));
    fs::write(&tmp, bytes)?;
    fs::rename(&tmp, dir.join(name))
}

/// Reserves disk space for a later [`write_durable`] of `name`, so that a full disk cannot stop it.
pub(crate) fn reserve(dir: &Path, name: &str, bytes: u64) -> io::Result<()> {
    let file = private_file(&dir.join(format!("{name}.tmp")))?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        // A file system that cannot reserve is no reason to run nothing.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates a folder, and those above it, that only we may enter.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file that only we may read, creating it if need be; a link is none, wherever it leads.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(NO_LINK).open(path)
}

/// Reads a file; none when it does not exist.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a JSON file; none when it does not exist.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    read_if_there(path)?.map(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_file_is_cut_to_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        reserve(dir.path(), "outcome.json", 8192).unwrap();
        assert_eq!(fs::metadata(dir.path().join("outcome.json.tmp")).unwrap().len(), 8192);
        write_durable(dir.path(), "outcome.json", b"[1]").unwrap();
        assert_eq!(read_json::<Vec<u8>>(&dir.path().join("outcome.json")).unwrap(), Some(vec![1]));
        assert_eq!(read_if_there(&dir.path().join("outcome.json.tmp")).unwrap(), None);
    }
}
