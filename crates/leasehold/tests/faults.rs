//! The decisive test: at the first grant to a rival, the old guard has said that it is lost, whatever was broken.
#![cfg(feature = "redis")]

mod support;

use leasehold::{Client, Guard, GuardState, LostWhy};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use support::clock;
use support::proxy::Proxy;
use support::redis::RedisServer;
use support::rounds::{side_by_side, ttl};
use tokio::runtime::{Builder, Runtime};

/// A holder behind a proxy and a rival with a line of its own, each with a runtime of its own.
struct Scene {
    server: RedisServer,
    proxy: Proxy,
    holder_runtime: Runtime,
    rival_runtime: Runtime,
    guard: Guard,
    ttl: Duration,
}

/// What the rival saw at its grant.
struct Grant {
    rival: Guard,
    at: u64,
    old_state: GuardState,
    old_deadline: u64,
}

impl Scene {
    fn new(run: u64, options: &[&str]) -> Scene {
        Scene::of(RedisServer::start_with(options), "", ttl(run))
    }

    /// `user` is `name:password@`, or nothing.
    fn of(server: RedisServer, user: &str, ttl: Duration) -> Scene {
        let proxy = Proxy::to(server.port());
        let holder_runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let rival_runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("redis://{user}127.0.0.1:{}", proxy.port());
        let guard = holder_runtime.block_on(async {
            let client = Client::connect(&url).await.unwrap();
            client.mutex("a").unwrap().ttl(ttl).acquire().await.unwrap()
        });
        Scene { server, proxy, holder_runtime, rival_runtime, guard, ttl }
    }

    fn rival(&self) -> leasehold::Mutex {
        self.rival_runtime.block_on(async {
            let client = Client::connect(&self.server.url()).await.unwrap();
            client.mutex("a").unwrap().ttl(self.ttl)
        })
    }

    /// Breaks something while a rival waits; `mend` runs once the guard has said that it is lost.
    fn play(mut self, run: u64, break_it: impl FnOnce(&mut Scene), mend: impl FnOnce(&mut Scene)) {
        let lock = self.rival();
        let old = self.guard.clone();
        let (told, lost) = channel();
        self.guard.on_lost(move |why| told.send((why, clock::now())).unwrap());
        let (granted, grant) = channel();
        let waiting = self.rival_runtime.handle().clone();
        let rival_thread = thread::spawn({
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            drop(waiting);
            move || {
                let rival = runtime.block_on(lock.acquire()).unwrap();
                let seen = Grant { at: clock::now(), old_state: old.state(), old_deadline: old.deadline().as_nanos(), rival };
                granted.send(seen).unwrap();
            }
        });
        self.await_waiter();
        thread::sleep(self.ttl * u32::try_from(run % 7).unwrap() / 10);
        assert_ne!(self.guard.state(), GuardState::Lost, "nothing is broken yet");
        break_it(&mut self);
        let (why, lost_at) = lost.recv_timeout(self.ttl * 20).expect("the guard tells its loss by itself");
        mend(&mut self);
        let grant = grant.recv_timeout(self.ttl * 40).expect("the rival is granted");
        rival_thread.join().unwrap();
        assert_eq!(grant.old_state, GuardState::Lost);
        assert!(grant.old_deadline <= grant.at, "the old deadline was over");
        // Told by then if threads run when they should; on a loaded machine the callback's own thread may be late.
        assert!(
            lost_at <= grant.at + 1_000_000_000,
            "the loss was told {} µs after the rival's grant",
            (lost_at - grant.at) / 1_000
        );
        assert_eq!(why, LostWhy::Expired);
        assert!(grant.rival.token() > self.guard.token());
        // Its threads may still be blocked.
        self.holder_runtime.shutdown_background();
    }

    fn await_waiter(&self) {
        self.rival_runtime.block_on(async {
            let client = Client::connect(&self.server.url()).await.unwrap();
            while client.inspect("a").await.unwrap().waiters.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}

fn nothing(_: &mut Scene) {}

#[test]
fn the_server_is_stopped() {
    side_by_side(|run| {
        let thaw = |scene: &mut Scene| {
            thread::sleep(Duration::from_millis(100));
            scene.server.thaw();
        };
        Scene::new(run, &[]).play(run, |scene| scene.server.freeze(), thaw);
    });
}

#[test]
fn the_server_is_killed_and_starts_again_with_its_data() {
    side_by_side(|run| {
        let restart = |scene: &mut Scene| {
            scene.server.kill();
            // Long enough that no renewal comes through any more.
            let left = scene.guard.remaining();
            thread::sleep(left);
            scene.server.restart();
        };
        Scene::new(run, &["--appendonly", "yes", "--appendfsync", "no"]).play(run, restart, nothing);
    });
}

#[test]
fn the_connection_is_black_holed() {
    side_by_side(|run| Scene::new(run, &[]).play(run, |scene| scene.proxy.black_hole(true), nothing));
}

#[test]
fn the_connection_is_cut() {
    side_by_side(|run| {
        let cut = |scene: &mut Scene| {
            scene.proxy.refuse(true);
            scene.proxy.cut();
        };
        Scene::new(run, &[]).play(run, cut, nothing);
    });
}

#[test]
fn renewals_are_answered_with_errors() {
    side_by_side(|run| {
        let server = RedisServer::start();
        server.query::<()>(&["ACL", "SETUSER", "holder", "on", ">secret", "~*", "&*", "+@all"]);
        let forbid = |scene: &mut Scene| scene.server.query::<()>(&["ACL", "SETUSER", "holder", "-evalsha", "-eval"]);
        Scene::of(server, "holder:secret@", ttl(run)).play(run, forbid, nothing);
    });
}

#[test]
fn the_runtimes_threads_are_blocked_and_the_link_is_cut() {
    side_by_side(|run| {
        let mut blocked = None;
        let block = |scene: &mut Scene| {
            blocked = Some(block_every_thread(&scene.holder_runtime));
            scene.proxy.black_hole(true);
        };
        Scene::new(run, &[]).play(run, block, nothing);
    });
}

#[test]
fn the_runtimes_threads_are_blocked_and_nothing_else_so_the_lock_stays_held() {
    side_by_side(|run| {
        let scene = Scene::new(run, &[]);
        let lock = scene.rival();
        let _blocked = block_every_thread(&scene.holder_runtime);
        let waited = scene.rival_runtime.block_on(lock.acquire_timeout(scene.ttl * 2)).unwrap();
        assert!(waited.is_none(), "nobody else got it");
        assert_ne!(scene.guard.state(), GuardState::Lost);
        scene.holder_runtime.shutdown_background();
    });
}

/// Replies are lost, but renewals reach the server: the guard cannot know, says lost, and the rival comes one ttl later.
#[test]
fn replies_are_lost() {
    side_by_side(|run| {
        let clear = |scene: &mut Scene| scene.proxy.lose_replies(false);
        Scene::new(run, &[]).play(run, |scene| scene.proxy.lose_replies(true), clear);
    });
}

/// Blocks every worker until the result is dropped.
fn block_every_thread(runtime: &Runtime) -> Sender<()> {
    let (unblock, blocked) = channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let (inside, entered) = channel();
    for _ in 0..2 {
        let (blocked, inside) = (Arc::clone(&blocked), inside.clone());
        runtime.spawn(async move {
            inside.send(()).unwrap();
            // One waits for the sender's end, the other for the first one's lock.
            let _ = blocked.lock().unwrap().recv();
        });
    }
    (0..2).for_each(|_| entered.recv().unwrap());
    unblock
}
