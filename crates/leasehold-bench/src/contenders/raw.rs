//! Floor of an uncontended cycle: the textbook's two commands, hand-written on one blocking socket.

use super::TTL;
use super::bare::{RELEASE, fresh_id};
use crate::Fault;
use crate::clock;
use crate::record::{Plan, Record};
use redis::Script;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Takes and gives back all of `keys` until the plan ends: one write and one read for all of them.
///
/// # Errors
/// If the server cannot be reached or answers anything else than it should.
pub fn run(url: &str, keys: &[String], plan: &Plan) -> Result<Vec<Record>, Fault> {
    let mut socket = TcpStream::connect(url.trim_start_matches("redis://"))?;
    socket.set_nodelay(true)?;
    let script = Script::new(RELEASE);
    exchange(&mut socket, &request(&["SCRIPT", "LOAD", RELEASE]), "$40\r\n".len() + 42)?;
    clock::sleep_until(plan.start);
    let (ttl, hash) = (TTL.as_millis().to_string(), script.get_hash());
    let mut records = Vec::new();
    loop {
        let asked = clock::now();
        if asked >= plan.end {
            return Ok(records);
        }
        let ids: Vec<String> = keys.iter().map(|_| fresh_id()).collect();
        let pairs = || keys.iter().zip(&ids);
        let claims: Vec<u8> = pairs().flat_map(|(key, id)| request(&["SET", key, id, "NX", "PX", &ttl])).collect();
        expect(&mut socket, &claims, "+OK\r\n", keys.len())?;
        let start = clock::now();
        let releases: Vec<u8> = pairs().flat_map(|(key, id)| request(&["EVALSHA", hash, "1", key, id])).collect();
        expect(&mut socket, &releases, ":1\r\n", keys.len())?;
        records.extend((0..keys.len()).map(|task| Record { task: task as u64, asked, start, end: start, token: 0 }));
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Sends `bytes` and takes `count` equal answers.
fn expect(socket: &mut TcpStream, bytes: &[u8], answer: &str, count: usize) -> Result<(), Fault> {
    let answers = exchange(socket, bytes, answer.len() * count)?;
    if answers.chunks(answer.len()).all(|one| one == answer.as_bytes()) {
        return Ok(());
    }
    Err(format!("the server answered {:?}", String::from_utf8_lossy(&answers)).into())
}

fn exchange(socket: &mut TcpStream, bytes: &[u8], length: usize) -> Result<Vec<u8>, Fault> {
    socket.write_all(bytes)?;
    let mut answer = vec![0; length];
    socket.read_exact(&mut answer)?;
    Ok(answer)
}
