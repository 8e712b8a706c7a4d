//! Hosts for runners on one machine: a network namespace each, behind one bridge, with a cgroup and a boot id of
//! its own. A link can lose packets without a word in either direction, and a host can lose its power.
//!
//! Needs root, `ip`, `tc`, `nsenter`, `unshare` and a writable cgroup v2 mount; [`Network::missing`] says what lacks.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use uuid::Uuid;

use super::leftovers::cgroup2_mount;
use super::until;

/// The most networks on one machine at a time: the third byte of their addresses.
const NETWORKS_MAX: u8 = 250;
/// How long what a host ran may take to be gone after it lost its power.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Enters a host and becomes the program, under the same process id.
const ENTER: &str =
    r#"echo 0 >"$1/cgroup.procs" && exec nsenter --net="$2" unshare --mount sh -c "$4" - "$3" "$5""#;
/// What is done inside.
const INSIDE: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id && exec "$2""#;

/// Which packets get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Those to the host.
    ToHost,
    /// Those from the host.
    FromHost,
    /// All.
    Both,
}

/// A bridge and its hosts. Dropping it ends everything that runs on the hosts and removes them.
#[derive(Debug)]
pub struct Network {
    /// Of the bridge; namespaces, links and cgroups are named after it.
    name: String,
    number: u8,
    cgroup: PathBuf,
    hosts: Vec<Host>,
}

impl Network {
    /// Why there can be no networks here; none where they can be.
    pub fn missing() -> Option<String> {
        let folder = tempfile::tempdir();
        let tried = folder.map_err(Into::into).and_then(|folder| {
            let mut network = Self::create(1, folder.path())?;
            network.host(0).run("true")?;
            network.host(0).cut(Direction::Both)?;
            network.remove()
        });
        tried.err().map(|error| format!("{error:#}"))
    }

    /// Makes a bridge with an address of its own and that many hosts; their boot ids are kept in `folder`.
    ///
    /// # Errors
    /// The machine or the permissions do not allow it.
    pub fn create(hosts: usize, folder: &Path) -> anyhow::Result<Self> {
        let mount = cgroup2_mount().context("cgroup v2 is not mounted")?;
        // Whoever makes the bridge has its number: a name that is taken is refused by the kernel.
        let (name, number) = (1..=NETWORKS_MAX)
            .map(|number| (format!("orch{number}"), number))
            .find(|(name, _)| ip(&format!("link add {name} type bridge")).is_ok())
            .context("could not make a bridge: root and `ip` are needed, and less than 250 networks")?;
        let mut network = Self { cgroup: mount.join(&name), name, number, hosts: Vec::new() };
        let (bridge, gateway) = (&network.name, network.gateway());
        ip(&format!(
            "link set {bridge} address {}\naddr add {gateway}/24 dev {bridge}\nlink set {bridge} up",
            network.mac(1)
        ))?;
        for host in 0..hosts {
            let laid_out = network.lay_out(u8::try_from(host)?, folder);
            // Part of the network before it stands, so that what there is of it is removed with the rest.
            network.hosts.push(laid_out);
            fs::create_dir_all(&network.hosts[host].cgroup).context("could not make a cgroup")?;
            network.hosts[host].plug_in()?;
        }
        Ok(network)
    }

    /// The address of this side of the bridge.
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// A host, counted from 0.
    ///
    /// # Panics
    /// There is none of that number.
    pub fn host(&mut self, number: usize) -> &mut Host {
        self.hosts.get_mut(number).unwrap_or_else(|| panic!("the network has no host {number}"))
    }

    /// The number of the host that a process runs on.
    pub(super) fn host_of(&self, pid: i32) -> Option<usize> {
        self.hosts.iter().position(|host| host.processes().contains(&pid))
    }

    /// Whether nothing runs on any host.
    pub(super) fn is_idle(&self) -> bool {
        self.hosts.iter().all(|host| host.processes().is_empty())
    }

    /// Removes everything.
    ///
    /// # Errors
    /// Names what still runs on a host, or what could not be removed.
    pub fn remove(self) -> anyhow::Result<()> {
        for host in &self.hosts {
            let living = host.processes();
            ensure!(living.is_empty(), "{} still runs {living:?}", host.name);
        }
        let (name, cgroup) = (self.name.clone(), self.cgroup.clone());
        drop(self);
        let left: Vec<_> = [PathBuf::from("/sys/class/net"), PathBuf::from("/run/netns")]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| {
                let found = path.file_name().map(|found| found.to_string_lossy().into_owned());
                found.is_some_and(|found| found == name || found.starts_with(&format!("{name}-")))
            })
            .chain(cgroup.exists().then_some(cgroup))
            .collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }

    fn lay_out(&self, number: u8, folder: &Path) -> Host {
        Host {
            name: format!("{}-{number}", self.name),
            bridge: self.name.clone(),
            addr: self.address(10 + number),
            mac: self.mac(10 + number),
            gateway: self.gateway(),
            gateway_mac: self.mac(1),
            cgroup: self.cgroup.join(format!("host-{number}")),
            boot_id: folder.join(format!("boot-id-{number}")),
            lost: None,
        }
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, last)
    }

    fn mac(&self, last: u8) -> String {
        format!("02:13:00:00:{:02x}:{last:02x}", self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            host.unplug();
        }
        // What cannot be removed is told by `remove`; here nobody could be told.
        remove_cgroups(&self.cgroup);
        let _ = ip(&format!("link del {}", self.name));
    }
}

/// One host.
#[derive(Debug)]
pub struct Host {
    name: String,
    bridge: String,
    addr: Ipv4Addr,
    mac: String,
    gateway: Ipv4Addr,
    gateway_mac: String,
    cgroup: PathBuf,
    boot_id: PathBuf,
    lost: Option<Direction>,
}

impl Host {
    /// Its address.
    pub fn addr(&self) -> Ipv4Addr {
        self.addr
    }

    /// What to put before a program so that it runs on this host, under the process id it was spawned with.
    pub fn launcher(&self) -> Vec<OsString> {
        let (cgroup, boot_id) = (self.cgroup.clone().into(), self.boot_id.clone().into());
        let netns = format!("/run/netns/{}", self.name).into();
        vec!["sh".into(), "-c".into(), ENTER.into(), "-".into(), cgroup, netns, boot_id, INSIDE.into()]
    }

    /// Loses packets from now on, and tells neither side.
    ///
    /// # Errors
    /// `tc` refused.
    pub fn cut(&mut self, direction: Direction) -> anyhow::Result<()> {
        self.heal()?;
        // A queue of length zero drops whatever is sent into it; neighbours are fixed, so nobody learns of it.
        if direction != Direction::FromHost {
            run("tc", &["qdisc", "add", "dev", &self.name, "root", "pfifo", "limit", "0"])?;
        }
        if direction != Direction::ToHost {
            run("tc", &["-n", &self.name, "qdisc", "add", "dev", "eth0", "root", "pfifo", "limit", "0"])?;
        }
        self.lost = Some(direction);
        Ok(())
    }

    /// Loses nothing any more.
    ///
    /// # Errors
    /// `tc` refused.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        let Some(direction) = self.lost.take() else { return Ok(()) };
        if direction != Direction::FromHost {
            run("tc", &["qdisc", "del", "dev", &self.name, "root"])?;
        }
        if direction != Direction::ToHost {
            run("tc", &["-n", &self.name, "qdisc", "del", "dev", "eth0", "root"])?;
        }
        Ok(())
    }

    /// Ends everything on it at once, with its memory: processes, connections, cgroups. Nobody on the other side of
    /// a connection hears of it.
    ///
    /// # Errors
    /// Something does not die.
    pub async fn power_off(&mut self) -> anyhow::Result<()> {
        self.cut(Direction::Both)?;
        // All stop before any of them dies: nobody sees the end of another.
        fs::write(self.cgroup.join("cgroup.freeze"), "1")?;
        let frozen = || {
            fs::read_to_string(self.cgroup.join("cgroup.events")).map(|events| events.contains("frozen 1"))
        };
        until("a host that stands still", GONE_WITHIN, || async { Ok(frozen()?.then_some(())) }).await?;
        fs::write(self.cgroup.join("cgroup.kill"), "1")?;
        let what = format!("{} without power", self.name);
        until(&what, GONE_WITHIN, || async { Ok(self.processes().is_empty().then_some(())) }).await?;
        self.unplug();
        remove_cgroups(&self.cgroup);
        Ok(())
    }

    /// Gives it power again, with an empty memory: another boot.
    ///
    /// # Errors
    /// The namespace cannot be made.
    pub fn power_on(&mut self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.cgroup)?;
        self.plug_in()
    }

    /// Keeps the boot id that it had before it lost its power, as a container that is made anew does.
    ///
    /// # Errors
    /// As for [`Self::power_on`].
    pub fn power_on_same_boot(&mut self) -> anyhow::Result<()> {
        let before = fs::read(&self.boot_id)?;
        self.power_on()?;
        Ok(fs::write(&self.boot_id, before)?)
    }

    fn plug_in(&self) -> anyhow::Result<()> {
        let Self { name, bridge, addr, mac, gateway, gateway_mac, .. } = self;
        fs::write(&self.boot_id, format!("{}\n", Uuid::new_v4()))?;
        ip(&format!(
            "netns add {name}\n\
             link add {name} type veth peer name eth0 netns {name} address {mac}\n\
             link set {name} master {bridge} up\n\
             neigh replace {addr} lladdr {mac} dev {bridge} nud permanent"
        ))?;
        ip_in(
            name,
            &format!(
                "addr add {addr}/24 dev eth0\nlink set lo up\nlink set eth0 up\n\
                 neigh replace {gateway} lladdr {gateway_mac} dev eth0 nud permanent"
            ),
        )
    }

    fn unplug(&mut self) {
        self.lost = None;
        // Gone already is what is wanted; what is left is found by `Network::remove`.
        let _ = fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = ip(&format!("link del {}", self.name));
        let _ = ip(&format!("netns del {}", self.name));
    }

    /// Runs a program on it to its end.
    fn run(&self, program: &str) -> anyhow::Result<()> {
        let mut words = self.launcher();
        words.push(program.into());
        let status = Command::new(&words[0]).args(&words[1..]).status()?;
        ensure!(status.success(), "could not run {program} on {}: {status}", self.name);
        Ok(())
    }

    /// Whether nothing runs on it.
    pub fn is_idle(&self) -> bool {
        self.processes().is_empty()
    }

    /// Ids of the processes that run on it.
    fn processes(&self) -> Vec<i32> {
        let (mut found, mut folders) = (Vec::new(), vec![self.cgroup.clone()]);
        while let Some(folder) = folders.pop() {
            let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
        found
    }
}

/// Removes a cgroup with all below it; those that are populated stay.
fn remove_cgroups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn ip(lines: &str) -> anyhow::Result<()> {
    feed("ip", &["-batch", "-"], lines)
}

fn ip_in(namespace: &str, lines: &str) -> anyhow::Result<()> {
    feed("ip", &["-n", namespace, "-batch", "-"], lines)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    feed(program, arguments, "")
}

fn feed(program: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {input} {said}", arguments.join(" "));
    Ok(())
}
