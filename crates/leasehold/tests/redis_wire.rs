//! What a Redis server does with our scripts, seen from bare sockets.
#![cfg(feature = "redis")]

mod support;

use leasehold::engine::{Engine, RenewCall};
use leasehold::{ClaimId, Want};
use leasehold_core::{Ask, ReleaseReply, RenewReply, ReqNo};
use leasehold_wire::{Call, Entry, Space, claim, release};
use rustix::event::{PollFd, PollFlags, epoll, poll};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use support::redis::RedisServer;
use support::redis_client::{Client, PLAIN, eventually, lasting, name};

/// A connection that is subscribed to the channel of a client.
struct Bare {
    stream: TcpStream,
    client: u64,
}

impl Bare {
    fn connect(server: &RedisServer, client: u64) -> Bare {
        let mut bare = Bare { stream: TcpStream::connect(("127.0.0.1", server.port())).unwrap(), client };
        bare.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        bare.send(&["HELLO", "3"]);
        bare.wait_for("modules");
        bare.send(&["SUBSCRIBE", &space().channel(client)]);
        bare.wait_for("subscribe");
        bare
    }

    fn claim(&self, no: u64) -> ClaimId {
        ClaimId::new(self.client, no)
    }

    fn send(&mut self, words: &[&str]) {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.write_all(request.as_bytes()).unwrap();
    }

    fn call(&mut self, call: &Call) {
        let count = call.keys().len().to_string();
        let texts = call.keys().iter().chain(call.args()).map(String::as_str);
        let words: Vec<&str> = ["EVAL", call.script.source, &count].into_iter().chain(texts).collect();
        self.send(&words);
    }

    /// Reads until `text` has come.
    fn wait_for(&mut self, text: &str) {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(text) {
            let mut some = [0; 4096];
            let count = self.stream.read(&mut some).unwrap_or_else(|error| panic!("{text} must come: {error}"));
            assert!(count > 0, "{text} must come before the end");
            read.extend(&some[..count]);
        }
    }

    /// Sleeps until something can be read.
    fn is_written_to(&self) {
        let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(ready, 1, "client {} must be written to", self.client);
    }
}

fn space() -> Space {
    Space::new(Space::DEFAULT_PREFIX).unwrap()
}

fn ask(claim_id: ClaimId) -> Call {
    let ask = Ask { no: ReqNo(1), first: true, wait: true, spare: 0 };
    claim(&space(), &name("r"), (claim_id, Entry::Absent), (lasting(), ask))
}

#[test]
fn the_next_holder_is_written_to_before_the_releaser() {
    let server = RedisServer::start();
    let (mut releaser, mut next) = (Bare::connect(&server, 1), Bare::connect(&server, 2));
    releaser.call(&ask(releaser.claim(1)));
    releaser.wait_for("*3");
    next.call(&ask(next.claim(1)));
    next.wait_for("+\r\n");

    // A set of sockets tells those that can be read in the order in which they came to be.
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for bare in [&releaser, &next] {
        epoll::add(&set, &bare.stream, epoll::EventData::new_u64(bare.client), epoll::EventFlags::IN).unwrap();
    }
    releaser.call(&release(&space(), &name("r"), (releaser.claim(1), Entry::Absent), PLAIN));
    releaser.is_written_to();
    next.is_written_to();
    let mut events = [epoll::Event { flags: epoll::EventFlags::IN, data: epoll::EventData::new_u64(0) }; 4];
    assert_eq!(epoll::wait(&set, &mut events[..], None).unwrap(), 2);
    assert_eq!(events[..2].iter().map(|event| event.data.u64()).collect::<Vec<_>>(), [next.client, releaser.client]);

    next.wait_for("granted");
    releaser.wait_for(":1\r\n");
}

/// The peer that releases the lock `key` next, in what a `MONITOR` reads.
fn releaser_of(monitor: &mut impl BufRead, key: &str) -> String {
    for line in monitor.lines() {
        let line = line.unwrap();
        if line.contains("EVALSHA") && line.contains(&format!(" \"{key}\" ")) && line.ends_with("+\"") {
            return line.split(['[', ']']).nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
        }
    }
    panic!("the monitor must not end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_releases_by_the_connection_that_hears_though_its_second_ask_went_by_the_driver() {
    let server = RedisServer::start();
    let url = server.url();
    let (one, other) = (leasehold::Client::connect(&url).await.unwrap(), leasehold::Client::connect(&url).await.unwrap());
    let mut monitor = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    monitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut monitor = BufReader::new(monitor);

    let mut last = String::new();
    // On a loaded machine the driver may not have read the answer to its ask, but not each time.
    for round in 0..20 {
        // It asks twice where it meets the other for the first time.
        let text = format!("met for the first time {round}");
        let (key, queue) = (space().lock(&name(&text)), space().keys(&name(&text)).queue);
        let held = one.mutex(&*text).unwrap().acquire().await.unwrap();
        let waiter = other.mutex(&*text).unwrap();
        let waiting = tokio::spawn(async move { waiter.acquire().await });
        eventually("it waits", || server.query::<u64>(&["EXISTS", &queue]) == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        held.release().await.unwrap();
        releaser_of(&mut monitor, &key);
        waiting.await.unwrap().unwrap().release().await.unwrap();

        let releaser = releaser_of(&mut monitor, &key);
        let clients: String = server.query(&["CLIENT", "LIST"]);
        last = clients.lines().find(|client| client.contains(&format!(" addr={releaser} "))).expect("it is there").to_owned();
        if last.contains(" sub=1 ") {
            return;
        }
    }
    panic!("20 times by another connection than that which hears: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_finds_queue_and_counter_whatever_the_name_and_prefix() {
    let server = RedisServer::start();
    for prefix in ["leasehold:", "", "app:", "{app}:"] {
        let url = format!("{}?prefix={}", server.url(), prefix.replace('{', "%7B").replace('}', "%7D"));
        let space = Space::new(prefix).unwrap();
        let (one, mut other) = (Client::join(&url).await, Client::join(&url).await);
        for text in ["order:123:pay", "{a}b", "b{a}", "a}", "{leasehold:a}", "a{}b{c}", "ключ"] {
            let about = format!("{prefix:?} and {text:?}");
            let renew = async |claim, tokens| {
                let mut call = RenewCall::new(name(text), claim, Want::ALL_OF_ONE, lasting());
                (call.tokens, call.io_deadline) = (tokens, one.within(Duration::from_secs(20)));
                one.engine.renew(call).await.unwrap()
            };
            let (holder, token) = one.hold(text).await;
            let RenewReply::Renewed(alone) = renew(holder, 3).await else { panic!("{about}: nobody took it away") };
            let block = alone.block.unwrap_or_else(|| panic!("{about}: tokens must be set aside"));
            assert!(block.first > token && block.count == 3 && !alone.others_wait, "{about}: {alone:?}");
            let (waiter, _) = other.wait_for(text).await;
            let RenewReply::Renewed(watched) = renew(holder, 0).await else { panic!("{about}: it is still held") };
            assert!(watched.block.is_none() && watched.others_wait, "{about}: {watched:?}");
            // A hold that ran out while others wait: the first of them is next.
            server.query::<()>(&["DEL", &space.lock(&name(text))]);
            assert_eq!(renew(holder, 0).await, RenewReply::Lost, "{about}");
            assert!(other.hear_grant(waiter).await.token > block.first, "{about}");
            assert_eq!(other.release(text, waiter).await.unwrap(), ReleaseReply::Released, "{about}");
        }
    }
}
