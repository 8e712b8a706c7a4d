//! The kept inputs of a target: one file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where the inputs of a target lie.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// All of them, by name.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn read(target: &str) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for entry in fs::read_dir(folder(target))? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

/// Keeps an input under its digest, and gives the path.
///
/// # Errors
/// It cannot be written.
pub fn keep(target: &str, kind: &str, input: &[u8]) -> io::Result<PathBuf> {
    let digest = hex::encode(Sha256::digest(input));
    let path = folder(target).join(format!("{kind}-{}", &digest[..16]));
    fs::write(&path, input)?;
    Ok(path)
}
