//! The decisive test of the program on a server: at the first grant to a rival, nothing of the command's tree is left.
//!
//! Every process of the tree has an flock(2) on one open file in common: it is free when the last of them is gone. The rival
//! is a client of the library with a line of its own to the server, and tries that flock the moment its acquire returns.

#[path = "../../leasehold/tests/support/proxy.rs"]
#[allow(dead_code)]
mod proxy;
#[path = "../../leasehold/tests/support/rounds.rs"]
mod rounds;
mod support;

use leasehold::blocking::{Client, Guard};
use proxy::Proxy;
use std::fs::{self, File};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use support::server::Server;
use support::{Place, Running, until};

/// Longer than the longest fault of many side by side takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Deaf to all signals that can be ignored; a child in a session of its own, and one that was orphaned. It forks at its leisure:
/// many trees that fork busily keep each other from leaving, for the kernel's locks on the shells' memory.
const TREE: &str = "
    trap '' TERM HUP INT QUIT
    exec 9>tree; flock 9
    (setsid sh -c 'trap \"\" TERM HUP INT QUIT; while :; do sleep 1; done' &)
    (sh -c 'sleep 300 & sleep 301' &)
    touch up
    while :; do sleep 1; done";

/// Runs `fault` side by side, each again until it was no void run: on a busy machine a holder may lose its lock too early.
fn side_by_side(fault: fn(u64) -> bool) {
    rounds::side_by_side(move |run| assert!((0..8).any(|_| fault(run)), "run {run} was void each time"));
}

/// A run behind a proxy.
struct Scene {
    place: Place,
    server: Server,
    proxy: Proxy,
    holder: Running,
    ttl: Duration,
    run: u64,
}

impl Scene {
    fn new(run: u64) -> Scene {
        Scene::with(run, &[], "")
    }

    /// `user` is `name:password@`, or nothing.
    fn with(run: u64, options: &[&str], user: &str) -> Scene {
        let place = Place::new();
        let server = Server::start(&place, options);
        server.query("ACL SETUSER holder on >secret ~* &* +@all");
        let proxy = Proxy::to(server.port());
        let ttl = rounds::ttl(run);
        let url = format!("redis://{user}127.0.0.1:{}", proxy.port());
        let ttl_text = format!("{}ms", ttl.as_millis());
        let start = || place.start("holder", &["run", "a", "--url", &url, "--ttl", &ttl_text, "--", "bash", "-c", TREE]);
        let mut holder = start();
        until("a command that runs", || {
            // On a busy machine too little may be left of the lease to start it.
            if let Ok(Some(_)) = holder.0.try_wait() {
                holder = start();
            }
            place.path("up").exists().then_some(())
        });
        Scene { place, server, proxy, holder, ttl, run }
    }

    /// Breaks something while a rival waits: it finds nobody. Then `mend`, after which the holder's own exit code is 70.
    /// False if the lock was lost before anything was broken; the rival must find nobody then, too.
    fn play(mut self, break_it: impl FnOnce(&mut Scene), mend: impl FnOnce(&mut Scene)) -> bool {
        let client = Client::connect(&self.server.url()).unwrap();
        let lock = client.mutex("a").unwrap().ttl(self.ttl);
        let (granted, grant) = channel();
        let dir = self.place.path("");
        let waiting = thread::spawn(move || {
            let guard = lock.acquire();
            let gone = File::open(dir.join("tree")).unwrap().try_lock().is_ok() || !runs_any(&dir);
            granted.send((guard, gone)).unwrap();
        });
        let in_line = || client.inspect("a").is_ok_and(|seen| seen.waiters.len() == 1);
        until("the rival in line", || (in_line() || waiting.is_finished()).then_some(()));
        thread::sleep(self.ttl * u32::try_from(self.run % 7).unwrap() / 10);
        let is_void = is_tree_gone(&self.place) || waiting.is_finished();
        if !is_void {
            break_it(&mut self);
        }
        let granted = grant.recv_timeout(PATIENCE);
        let (guard, gone): (Result<Guard, _>, bool) = granted.unwrap_or_else(|_| {
            panic!("the rival is granted: {:?}, {}", client.inspect("a"), self.place.read("holder.err"));
        });
        waiting.join().unwrap();
        guard.unwrap();
        assert!(gone, "the rival was granted the lock, and the tree was there: {}", self.place.read("holder.err"));
        if !is_void {
            mend(&mut self);
        }
        !is_void
    }

    fn holder_says_lost(&mut self) {
        assert_eq!(self.holder.end().code(), Some(70), "{}", self.place.read("holder.err"));
    }
}

fn is_tree_gone(place: &Place) -> bool {
    File::open(place.path("tree")).unwrap().try_lock().is_ok()
}

/// True if a process of the tree can still run code of its own. One that was killed cannot, but on a busy machine the kernel
/// may take a while to clear it away, and to free its flock.
fn runs_any(dir: &Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let here = fs::canonicalize(dir).unwrap();
    processes.filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == here)).any(|process| {
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        let is_of_tree = ["bash", "sh", "sleep", "setsid", "flock"].contains(&field("Name:").as_str());
        let is_killed = u64::from_str_radix(&field("SigPnd:"), 16).is_ok_and(|pending| pending & (1 << 8) != 0);
        is_of_tree && !is_killed && !is_exiting(&process)
    })
}

/// By the kernel's own flag of the process.
fn is_exiting(process: &Path) -> bool {
    const EXITING: u64 = 4;
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(6).and_then(|flags| flags.parse().ok()).is_none_or(|flags: u64| flags & EXITING != 0)
}

#[test]
fn the_server_is_stopped() {
    side_by_side(|run| {
        let stop = |scene: &mut Scene| {
            scene.server.signal("STOP");
            // A moment longer than the lease: the grant comes as early as it can.
            thread::sleep(scene.ttl);
            scene.server.signal("CONT");
        };
        Scene::new(run).play(stop, Scene::holder_says_lost)
    });
}

#[test]
fn the_server_is_killed_and_starts_again_with_its_data() {
    side_by_side(|run| {
        let restart = |scene: &mut Scene| {
            scene.server.kill();
            thread::sleep(scene.ttl);
            scene.server.restart(&scene.place);
        };
        Scene::with(run, &["--appendonly", "yes", "--appendfsync", "no"], "").play(restart, Scene::holder_says_lost)
    });
}

#[test]
fn the_connection_is_black_holed() {
    side_by_side(|run| Scene::new(run).play(|scene| scene.proxy.black_hole(true), Scene::holder_says_lost));
}

#[test]
fn the_connection_is_cut() {
    side_by_side(|run| {
        let cut = |scene: &mut Scene| {
            scene.proxy.refuse(true);
            scene.proxy.cut();
        };
        Scene::new(run).play(cut, Scene::holder_says_lost)
    });
}

/// Renewals reach the server until the holder knows no better than to say lost.
#[test]
fn replies_are_lost() {
    side_by_side(|run| Scene::new(run).play(|scene| scene.proxy.lose_replies(true), Scene::holder_says_lost));
}

#[test]
fn renewals_are_answered_with_errors() {
    side_by_side(|run| {
        let forbid = |scene: &mut Scene| drop(scene.server.query("ACL SETUSER holder -evalsha -eval"));
        Scene::with(run, &[], "holder:secret@").play(forbid, Scene::holder_says_lost)
    });
}

#[test]
fn leasehold_itself_is_stopped() {
    side_by_side(|run| {
        let wake = |scene: &mut Scene| {
            scene.holder.signal("CONT");
            scene.holder_says_lost();
        };
        Scene::new(run).play(|scene| scene.holder.signal("STOP"), wake)
    });
}

#[test]
fn leasehold_itself_is_killed() {
    side_by_side(|run| Scene::new(run).play(|scene| scene.holder.signal("KILL"), |_| ()));
}

/// The rival does not wait for the lease's end: the hold is taken away, and free when the tree is gone.
#[test]
fn the_hold_is_revoked() {
    side_by_side(|run| {
        let revoke = |scene: &mut Scene| {
            let released = scene.place.output(&["release", "a", "--force", "--url", &scene.server.url()]);
            assert_eq!(support::code(&released), 0, "{released:?}");
        };
        Scene::new(run).play(revoke, Scene::holder_says_lost)
    });
}

#[test]
fn the_keeper_is_killed() {
    side_by_side(|run| Scene::new(run).play(|scene| support::send(scene.holder.only_child(), "KILL"), Scene::holder_says_lost));
}
