//! The file that is executed for a program's name, and how to tell it from another one in its place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use serde::{Deserialize, Serialize};

use crate::shim::PATH_DEFAULT;

/// An executable file as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute; symbolic links in it are followed at each use.
    pub path: PathBuf,
    identity: FileIdentity,
}

/// Changes with every way to replace, rewrite or chmod a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

impl Program {
    /// What is executed for `name`, by the rules of a shell; none when there is none.
    pub fn find(name: &Path) -> Option<Self> {
        Self::at(resolve(name, std::env::var_os("PATH").as_deref())?)
    }

    /// Whether the file is still the one that was found.
    pub fn is_unchanged(&self) -> bool {
        Self::at(self.path.clone()).as_ref() == Some(self)
    }

    fn at(path: PathBuf) -> Option<Self> {
        let file = path.metadata().ok()?;
        let identity = FileIdentity {
            device: file.dev(),
            inode: file.ino(),
            bytes: file.size(),
            // The time of the last change of content, mode or owner; nobody can set it back.
            changed_s: file.ctime(),
            changed_ns: file.ctime_nsec(),
        };
        Some(Self { path, identity })
    }
}

/// Says that there is no file for `name`, and what to do.
pub(super) fn not_found(name: &Path) -> String {
    let place = if is_path(name) { "as an executable file" } else { "on PATH" };
    format!(
        "{} was not found {place}: install it (npm install -g @anthropic-ai/claude-code) or set ORCH_CLAUDE_BIN",
        name.display()
    )
}

fn is_path(name: &Path) -> bool {
    name.as_os_str().as_bytes().contains(&b'/')
}

fn resolve(name: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    let executable = |file: &PathBuf| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok();
    if is_path(name) {
        return std::path::absolute(name).ok().filter(executable);
    }
    std::env::split_paths(path.unwrap_or(OsStr::new(PATH_DEFAULT)))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(executable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("agent");
        write(&there, "", 0o700);
        write(&dir.path().join("plain"), "", 0o600);
        let path = Some(dir.path().as_os_str());
        assert_eq!(resolve(Path::new("agent"), path), Some(there.clone()));
        assert_eq!(resolve(&there, None), Some(there));
        assert_eq!(resolve(Path::new("plain"), path), None);
        assert_eq!(resolve(Path::new("./agent"), path), None);
    }

    #[test]
    fn a_file_in_the_place_of_another_is_another_even_with_its_size_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, link) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("link"));
        write(&first, "one", 0o700);
        write(&second, "two", 0o700);
        std::os::unix::fs::symlink(&first, &link).unwrap();
        let found = Program::find(&link).unwrap();
        assert!(found.is_unchanged());
        assert_eq!(Program::find(&link), Some(found.clone()));

        let times = std::fs::FileTimes::new().set_modified(first.metadata().unwrap().modified().unwrap());
        std::fs::File::options().write(true).open(&second).unwrap().set_times(times).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&second, &link).unwrap();
        assert!(!found.is_unchanged());

        let again = Program::find(&link).unwrap();
        write(&second, "three", 0o700);
        assert!(!again.is_unchanged());
        write(&second, "three", 0o600);
        assert_eq!(Program::find(&link), None);
    }
}
