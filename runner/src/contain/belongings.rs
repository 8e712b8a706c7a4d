//! Gives files to the users of agents: what is one agent's alone, what agents of one repository share, and the way there.
//!
//! All of it was written by agents before, so no link is followed, and a file that has another name elsewhere is given to nobody.

use std::ffi::CStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, fstat, openat,
    statat, unlinkat,
};

use super::{User, Users};

/// Folders deeper than this are not looked into; no path that a program can name goes so deep.
const DEPTH_MAX: usize = 2048;
/// Entered by everybody, listed by none but its owner.
const WAY: u32 = 0o711;
/// What agents of one repository share: whatever is made in it is their group's, too.
const SHARED: u32 = 0o2770;

/// Makes a file or folder, and all below it, the user's own. Nobody may live in it.
pub(crate) fn hand_over(path: &Path, user: User, users: Users) -> io::Result<()> {
    let give = |folder: &OwnedFd| -> io::Result<()> {
        fchown(folder, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
        Ok(())
    };
    let one = |folder: &OwnedFd, name: &CStr, found: &Stat| -> io::Result<()> {
        let is_another_name =
            FileType::from_raw_mode(found.st_mode) != FileType::Directory && found.st_nlink > 1;
        if found.st_uid == user.uid || (is_another_name && !users.has(found.st_uid)) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        Ok(chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    };
    let top = open(CWD.as_fd(), path)?;
    give(&top)?;
    fchmod(&top, Mode::from_raw_mode(0o700))?;
    walk(&top, 0, &|_| Ok(()), &one)
}

/// Has the agents' group write into a folder of a clone's, and into all folders below it. Agents may live there. Git makes no
/// links in it; one of an agent's would lead what we write there to a place of its choice, so it goes.
pub(crate) fn share(path: &Path, users: Users) -> io::Result<()> {
    let gid = Some(Gid::from_raw(users.first));
    let folder = |folder: &OwnedFd| -> io::Result<()> {
        let found = fstat(folder)?;
        if found.st_gid != users.first || found.st_mode & 0o7777 != SHARED {
            fchown(folder, None, gid)?;
            fchmod(folder, Mode::from_raw_mode(SHARED))?;
        }
        Ok(())
    };
    let file = |folder: &OwnedFd, name: &CStr, found: &Stat| -> io::Result<()> {
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind == FileType::Symlink {
            tracing::warn!(name = %name.to_string_lossy(), "removed a link from what agents of a repository share");
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
        if kind != FileType::RegularFile || found.st_gid == users.first || found.st_nlink > 1 {
            return Ok(());
        }
        match chownat(folder, name, None, gid, AtFlags::SYMLINK_NOFOLLOW) {
            // An agent's git may have removed it since.
            Err(rustix::io::Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    };
    let top = open(CWD.as_fd(), path)?;
    folder(&top)?;
    walk(&top, 0, &folder, &file)
}

/// Lets everybody pass through the folders from `root` down to the one that `path` is in, and look into none.
pub(crate) fn open_way(root: &Path, path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
        let folder = open(CWD.as_fd(), folder)?;
        if fstat(&folder)?.st_mode & 0o777 != WAY {
            fchmod(&folder, Mode::from_raw_mode(WAY))?;
        }
    }
    Ok(())
}

/// Creates a folder, and those above it, that everybody may pass through.
pub(crate) fn create_way(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(WAY).create(path)
}

/// The folder above `path` that not everybody may pass through, if there is one.
pub(crate) fn barrier(path: &Path) -> Option<&Path> {
    let is_passed = |folder: &&Path| fs::metadata(folder).is_ok_and(|found| found.mode() & 0o001 != 0);
    path.ancestors().skip(1).find(|folder| !is_passed(folder))
}

fn open(folder: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// Calls `one` for everything below a folder, and `enter` for each folder that is looked into.
fn walk(
    folder: &OwnedFd,
    depth: usize,
    enter: &dyn Fn(&OwnedFd) -> io::Result<()>,
    one: &dyn Fn(&OwnedFd, &CStr, &Stat) -> io::Result<()>,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => continue,
            found => found?,
        };
        one(folder, name, &found)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory && depth < DEPTH_MAX {
            match open(folder, name) {
                Ok(below) => {
                    enter(&below)?;
                    walk(&below, depth + 1, enter, one)?;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// Only root gives files away; anybody else gives them to himself.
    fn some_user() -> (User, Users) {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (uid, gid) = if uid == 0 { (60601, 60600) } else { (uid, gid) };
        (User { uid, gid }, Users { first: gid, last: uid.max(gid) })
    }

    #[test]
    fn what_is_handed_over_is_the_users_and_what_links_lead_to_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (user, users) = some_user();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        fs::create_dir_all(own.join("deep/er")).unwrap();
        fs::write(own.join("deep/er/file"), "x").unwrap();
        fs::write(&other, "secret").unwrap();
        symlink(&other, own.join("link")).unwrap();
        fs::hard_link(&other, own.join("second name")).unwrap();
        let before = fs::metadata(&other).unwrap().uid();
        hand_over(&own, user, users).unwrap();
        assert_eq!(fs::metadata(own.join("deep/er/file")).unwrap().uid(), user.uid);
        assert_eq!(fs::symlink_metadata(own.join("link")).unwrap().uid(), user.uid);
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&other).unwrap().uid(), before);
        symlink(&own, dir.path().join("way")).unwrap();
        assert!(
            hand_over(&dir.path().join("way"), user, users).is_err(),
            "a link is no folder of an agent's"
        );
    }

    #[test]
    fn what_is_shared_is_the_groups_and_the_way_is_passed_but_not_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (_, users) = some_user();
        let (root, objects) = (dir.path().join("root"), dir.path().join("root/clone/objects"));
        fs::create_dir_all(objects.join("pack")).unwrap();
        fs::write(objects.join("pack/one"), "x").unwrap();
        share(&objects, users).unwrap();
        open_way(&root, &objects).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&objects.join("pack")), mode(&root), mode(&root.join("clone"))), (SHARED, WAY, WAY));
        assert_eq!(fs::metadata(objects.join("pack/one")).unwrap().gid(), users.first);
        assert_ne!(mode(dir.path()), WAY, "above the root nothing changes");
    }
}
