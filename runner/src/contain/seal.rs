//! Namespaces of its own for a sealed agent: a tree made of what it sees and nothing else, and a network that consists of one
//! socket, on which the shim lets it out.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    unmount,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    netlink, recv, send, sendmsg, socket_with,
};
use rustix::process::{getegid, geteuid, pivot_root};

use super::view::{SCRATCH, View};

/// Where the way out listens in the agent's own network.
pub(crate) const EGRESS_PORT: u16 = 3128;

/// Leaves the namespaces of the host. What the agent gets out by is handed over `way_out`.
pub(super) fn leave_host(way_out: &UnixStream) -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    // Its groups are what they were; without this it could not name one.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    bring_loopback_up()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, EGRESS_PORT))?;
    let (fds, mut space) = ([listener.as_fd()], [std::mem::MaybeUninit::uninit(); 64]);
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(way_out, &[io::IoSlice::new(b"e")], &mut message, SendFlags::empty())?;
    Ok(())
}

/// Asks the kernel to set the one interface of a new network up: there is a message for that, and no file.
fn bring_loopback_up() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    const LENGTH: u32 = 32;
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_AND_ACK.to_ne_bytes());
    request.extend([0; 8]); // sequence and port
    request.extend([0; 4]); // family and type
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    let socket: OwnedFd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    send(&socket, &request, SendFlags::empty())?;
    let mut reply = [0_u8; 64];
    let (length, _) = recv(&socket, &mut reply, RecvFlags::empty())?;
    // An error message: a header of 16 bytes, then 0 or a negated error number.
    match reply
        .get(16..20)
        .filter(|_| length >= 20)
        .map(|code| i32::from_ne_bytes([code[0], code[1], code[2], code[3]]))
    {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::Error::other("the kernel did not answer")),
    }
}

/// Puts a tree in place of the host's, made at `at`, that has what the view has and folders of its own in memory.
pub(super) fn enter_tree(view: &View, at: &Path, work: &Path) -> io::Result<()> {
    let named = |what: &str, error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))
        .map_err(|error| named("a file system in memory", error.into()))?;
    for folder in SCRATCH {
        let folder = below(at, Path::new(folder));
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, at.join("dev").join(name))?;
    }
    for path in view.read.iter().chain(&view.write) {
        show(path, at).map_err(|error| named(&path.display().to_string(), error))?;
    }
    std::env::set_current_dir(at)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir(work)
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Shows a path of the host under its own name; one that is not there is not shown.
fn show(path: &Path, root: &Path) -> io::Result<()> {
    let target = below(root, path);
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if found.is_symlink() {
        if fs::symlink_metadata(&target).is_err() {
            fs::create_dir_all(target.parent().unwrap_or(root))?;
            symlink(fs::read_link(path)?, &target)?;
        }
        // What it leads to may be in none of the other folders.
        return match path.canonicalize() {
            Ok(real) => show(&real, root),
            Err(_) => Ok(()),
        };
    }
    if found.is_dir() {
        fs::create_dir_all(&target)?;
        mount_bind_recursive(path, &target)?;
    } else {
        fs::create_dir_all(target.parent().unwrap_or(root))?;
        if fs::symlink_metadata(&target).is_err() {
            File::create(&target)?;
        }
        mount_bind(path, &target)?;
    }
    Ok(())
}
