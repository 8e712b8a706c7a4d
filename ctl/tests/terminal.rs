//! What only a terminal sees: colours, and `orch top`. `script` gives a real one.

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{Dev, LOOK_EVERY, SOON};

const ROWS: usize = 24;
const COLUMNS: usize = 100;

/// A command in a terminal of its own.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    printed: Receiver<Vec<u8>>,
    screen: Screen,
}

impl Terminal {
    fn start(dev: &Dev, line: &str) -> Self {
        // `script` hands on the exit code of what it runs.
        let sized = format!("stty rows {ROWS} cols {COLUMNS}; {line}");
        let mut command = dev.sh("exec script -qefc \"$LINE\" /dev/null");
        let mut child = command
            .env("LINE", sized)
            .env("TERM", "xterm-256color")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script starts");
        let keys = child.stdin.take();
        let mut stdout = child.stdout.take().expect("stdout is piped");
        let (send, printed) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stdout.read(&mut piece) {
                if send.send(piece[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keys, printed, screen: Screen::default() }
    }

    /// Waits until the screen shows this.
    fn wait_for(&mut self, text: &str) {
        while !self.screen.text().contains(text) {
            let Ok(piece) = self.printed.recv_timeout(SOON) else {
                panic!("no `{text}` on the screen:\n{}", self.screen.text());
            };
            self.screen.take(&piece);
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.as_mut().expect("a terminal that is open").write_all(keys.as_bytes()).expect("keys");
    }

    /// Everything until the end, and the exit code.
    fn end(mut self) -> (Vec<u8>, Option<i32>) {
        while let Ok(piece) = self.printed.recv_timeout(SOON) {
            self.screen.take(&piece);
        }
        let code = self.child.wait().expect("its end").code();
        (std::mem::take(&mut self.screen.bytes), code)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As much of a terminal as is needed to read what is on it: places and letters.
#[derive(Default)]
struct Screen {
    bytes: Vec<u8>,
}

impl Screen {
    fn take(&mut self, piece: &[u8]) {
        self.bytes.extend(piece);
    }

    fn text(&self) -> String {
        let mut rows = vec![vec![' '; COLUMNS]; ROWS];
        let (mut row, mut column) = (0, 0);
        let text = String::from_utf8_lossy(&self.bytes);
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\x1b' if letters.peek() == Some(&'[') => {
                    letters.next();
                    let order: String =
                        std::iter::from_fn(|| letters.next_if(|c| !c.is_ascii_alphabetic())).collect();
                    match letters.next() {
                        Some('H') => {
                            let mut at = order.split(';').map(|part| part.parse::<usize>().unwrap_or(1));
                            row = at.next().unwrap_or(1).saturating_sub(1);
                            column = at.next().unwrap_or(1).saturating_sub(1);
                        }
                        Some('J') => rows = vec![vec![' '; COLUMNS]; ROWS],
                        _ => {}
                    }
                }
                '\x1b' => {
                    letters.next();
                }
                '\r' => column = 0,
                '\n' => row += 1,
                letter => {
                    if let Some(cell) = rows.get_mut(row).and_then(|cells| cells.get_mut(column)) {
                        *cell = letter;
                    }
                    column += 1;
                }
            }
        }
        rows.into_iter().map(|cells| cells.into_iter().collect::<String>() + "\n").collect()
    }
}

/// What a line prints in a pipe.
fn said(dev: &Dev, line: &str) -> String {
    String::from_utf8(dev.output(line).stdout).expect("UTF-8")
}

fn has_script() -> bool {
    let there = Command::new("script").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("skipped: `script` of util-linux gives the terminal");
    }
    there
}

#[test]
fn top_shows_jobs_live_explains_the_selected_one_and_ends_it_after_a_question() {
    if !has_script() {
        return;
    }
    let dev = Dev::start();
    dev.wait_until("orch runners", "2.1.330");
    let made = |item: &str, prompt: &str| {
        said(&dev, &format!("orch enqueue --project demo --stage work --work-item {item} --prompt {prompt}"));
    };
    made("DEMO-1", "for-ever");
    dev.wait_until("orch job 1", "running");
    let mut top = Terminal::start(&dev, "orch top");
    top.wait_for("1 of 1 running");
    top.wait_for("demo/DEMO-1");
    // Its log, in words.
    top.wait_for("I look at it.");
    // What comes later is seen without a key.
    made("DEMO-2", "go");
    top.wait_for("demo/DEMO-2");
    top.press("\x1b[B");
    top.wait_for("it goes on when any run ends");
    top.press("\x1b[A");
    top.wait_for("job 1 runs");
    top.press("c");
    top.wait_for("end job 1?");
    top.press("n");
    top.wait_for("q quit");
    top.press("c");
    top.wait_for("end job 1?");
    top.press("y");
    top.wait_for("the end of job 1 was asked for");
    dev.wait_until("orch job 1", "cancelled");
    top.wait_for("nothing runs and nothing waits");
    top.press("q");
    let (printed, code) = top.end();
    assert_eq!(code, Some(0));
    let left = String::from_utf8_lossy(&printed).into_owned();
    assert!(left.contains("\x1b[?1049h") && left.contains("\x1b[?1049l"), "the screen is given back");
    assert_eq!(said(&dev, "orch jobs --status done | grep -c DEMO-2").trim(), "1");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    if !has_script() {
        return;
    }
    let dev = Dev::start();
    dev.wait_until("orch runners", "ready");
    let printed = |line: &str| String::from_utf8_lossy(&Terminal::start(&dev, line).end().0).into_owned();
    assert!(printed("orch runners").contains("\x1b[32mready\x1b[0m"));
    assert!(!printed("orch runners | cat").contains('\x1b'));
    assert!(!printed("NO_COLOR=1 orch runners").contains('\x1b'));
    assert!(!printed("orch runners --no-color").contains('\x1b'));
}

#[test]
fn a_terminal_that_goes_away_ends_top() {
    if !has_script() {
        return;
    }
    let dev = Dev::start();
    dev.wait_until("orch runners", "2.1.330");
    let mut top = Terminal::start(&dev, "orch top");
    top.wait_for("nothing runs and nothing waits");
    drop(top);
    let mut waited = Duration::ZERO;
    while tops_in(dev.folder.path()) > 0 {
        assert!(waited < SOON, "orch top outlives its terminal");
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}

/// Processes in this folder that are an `orch top`.
fn tops_in(folder: &Path) -> usize {
    let folder = folder.canonicalize().expect("a folder");
    let is_top = |process: &Path| {
        let cwd = fs::read_link(process.join("cwd")).ok();
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        cwd.is_some_and(|cwd| cwd == folder) && command.starts_with(b"orch\0top\0")
    };
    fs::read_dir("/proc").expect("/proc").flatten().filter(|process| is_top(&process.path())).count()
}
