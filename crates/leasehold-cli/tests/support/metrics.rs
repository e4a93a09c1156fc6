//! Metrics as a Prometheus server reads them, and the way to those that are served.

use super::{Place, Running, until};
use prometheus_parse::{Sample, Scrape, Value};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// What a text says, line for line.
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads it. Every line must be understood, and no series may come twice: Prometheus would refuse all of it.
    pub fn parse(text: &str) -> Metrics {
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let series: HashSet<&str> = lines.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(series.len(), lines.len(), "a series comes twice:\n{text}");
        let parsed = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        let understood = parsed.samples.iter().map(|sample| match &sample.value {
            Value::Histogram(buckets) => buckets.len(),
            _ => 1,
        });
        assert_eq!(understood.sum::<usize>(), lines.len(), "a line is not understood:\n{text}");
        assert!(text.ends_with('\n'), "the last line has no end");
        Metrics { samples: parsed.samples }
    }

    /// The value of the series with exactly this label, or without any; `None` if there is none.
    pub fn find(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let has = |sample: &&Sample| match label {
            Some((key, value)) => sample.labels.len() == 1 && sample.labels.get(key) == Some(value),
            None => sample.labels.is_empty(),
        };
        let sample = self.samples.iter().filter(|sample| sample.metric == name).find(has)?;
        match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(value),
            ref other => panic!("{name} is {other:?}"),
        }
    }

    pub fn get(&self, name: &str) -> f64 {
        self.find(name, None).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Of one lock.
    pub fn of(&self, name: &str, resource: &str) -> Option<f64> {
        self.find(name, Some(("resource", resource)))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A `leasehold serve` on a free port.
pub struct Served {
    pub process: Running,
    pub address: SocketAddr,
}

impl Served {
    /// Starts it; it says itself which port it got.
    pub fn start(place: &Place, mut command: Command) -> Served {
        command.args(["--listen", "127.0.0.1:0"]);
        let process = place.start_command("serve", command);
        let address = until("an address", || {
            let text = place.read("serve.err");
            let rest = text.split_once("http://")?.1;
            rest.split_once("/metrics")?.0.parse().ok()
        });
        Served { process, address }
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(super::LONG)).unwrap();
        write!(socket, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head: head.into(), body: body.into() }
    }

    pub fn metrics(&self) -> Metrics {
        let answer = self.ask("GET", "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        Metrics::parse(&answer.body)
    }

    /// Ends it by this signal; how long that took.
    pub fn end(&mut self, signal: &str) -> Duration {
        let begun = std::time::Instant::now();
        self.process.signal(signal);
        assert_eq!(self.process.end().code(), Some(0));
        begun.elapsed()
    }
}
