//! What the server is: version, role, cluster, replicas, and what of it cannot be seen.

use super::patient::{Denial, Patient};
use crate::commands::doctor::finding::Check;
use crate::commands::doctor::shell;
use crate::store::Store;

/// The oldest server that has all that the scripts use.
const OLDEST: u32 = 7;

/// How many seconds a replica may be silent; each says something every second.
const LAG_MAX: u64 = 10;

/// All of it.
pub fn checks(patient: &Patient) -> Vec<Check> {
    let all = [version(patient), role(patient), cluster(patient), replicas(patient), min_replicas(patient)];
    all.into_iter().flatten().chain([view(patient)]).collect()
}

fn version(patient: &Patient) -> Option<Check> {
    let id = "redis.version";
    let compatible = patient.info("redis_version")?;
    let seen = match patient.info("valkey_version") {
        Some(version) => format!("Valkey {version}, compatible with Redis {compatible}"),
        None => format!("Redis {compatible}"),
    };
    let major = compatible.split('.').next().and_then(|major| major.parse::<u32>().ok());
    Some(if major.is_some_and(|major| major < OLDEST) {
        Check::danger(id, "the server is too old", seen)
            .means("locks do not work: Leasehold refuses it when connecting, since its scripts need Redis 7.0")
            .remedy("# install Redis 7.0 or newer, or Valkey")
    } else {
        Check::ok(id, "the server is new enough", seen)
    })
}

fn role(patient: &Patient) -> Option<Check> {
    let id = "redis.role";
    if patient.info("redis_mode") == Some("sentinel") {
        return Some(
            Check::danger(id, "the server is a Sentinel", "redis_mode sentinel")
                .means("locks do not work: a Sentinel keeps no keys, and following one to its primary is not supported yet")
                .remedy(patient.command(["SENTINEL", "MASTERS"])),
        );
    }
    let role = patient.info("role")?;
    if role == "master" {
        return Some(Check::ok(id, "the server is a primary", "role master"));
    }
    let (host, port) = (patient.info("master_host").unwrap_or("HOST"), patient.info("master_port").unwrap_or("PORT"));
    let link = patient.info("master_link_status").unwrap_or("unknown");
    Some(
        Check::danger(id, "the server is a replica", format!("role {role}, primary {host}:{port}, link {link}"))
            .means("locks do not work: a replica takes no writes, so nothing is granted here")
            .remedy(at_primary(&patient.url, host, port)),
    )
}

/// The same store on another host, without anything secret: database, prefix and TLS are those of the replica.
fn at_primary(url: &str, host: &str, port: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let store = Store::at(url);
    let bare = store.bare_url();
    let there = match bare.split_once("://") {
        Some((scheme @ ("redis" | "rediss"), rest)) => {
            format!("{scheme}://{host}:{port}{}", rest.find(['/', '?']).map_or("", |at| &rest[at..]))
        }
        // Of a socket, where the database is an option.
        _ => {
            let options = bare.split_once('?').map_or("", |(_, options)| options).split('&').filter(|option| !option.is_empty());
            let (database, others): (Vec<&str>, Vec<&str>) = options.partition(|option| option.starts_with("db="));
            let database: String = database.iter().map(|option| option.replace("db=", "/")).collect();
            let others = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
            format!("redis://{host}:{port}{database}{others}")
        }
    };
    let hint = if store.has_secret() { "    # put the user and the password of the present URL before the host" } else { "" };
    shell::leasehold(&there, "doctor", [""; 0]) + hint
}

fn cluster(patient: &Patient) -> Option<Check> {
    let id = "redis.cluster";
    Some(match patient.info("cluster_enabled")? {
        "0" => Check::ok(id, "the server is no node of a cluster", "cluster_enabled 0"),
        other => Check::danger(id, "the server is a node of a cluster", format!("cluster_enabled {other}"))
            .means("locks do not work: Cluster is not supported yet, and names of other nodes' slots are refused with MOVED")
            .remedy("# name a server without cluster-enabled in the URL"),
    })
}

fn replicas(patient: &Patient) -> Option<Check> {
    let id = "redis.replicas";
    let count = patient.info_number("connected_slaves")?;
    if count == 0 {
        return Some(Check::ok(id, "no fail-over can lose a grant", "no replica"));
    }
    let known: Vec<&str> = (0..count).filter_map(|at| patient.info(&format!("slave{at}"))).collect();
    let shown: Vec<String> = known.iter().take(3).enumerate().map(|(at, said)| format!("replica {at}: {said}")).collect();
    let seen = format!("{count} connected; {}", shown.join("; "));
    if let Some(said) = known.iter().find(|said| is_behind(said)) {
        let of = |name| replicas_field(said, name).unwrap_or("unknown");
        return Some(
            Check::warning(id, "a replica does not follow", seen)
                .means(
                    "if it takes over, all grants since it last followed are lost: P1 is broken until the old holders' next \
                     renewals, and P2 if its clock is behind. Without a fail-over nothing is lost",
                )
                .remedy(shell::line(["redis-cli", "-h", of("ip"), "-p", of("port"), "INFO", "replication"])),
        );
    }
    Some(Check::note(id, "a fail-over can lose a grant", seen).means(
        "replicas follow later. If one takes over that lacks a grant, P1 is broken until the old holder's next renewal, and \
             P2 if its clock is behind; P3 holds where claim ids are compared too. Without a fail-over nothing is lost",
    ))
}

/// `ip=10.0.0.2,port=6379,state=online,offset=1234,lag=0`
fn replicas_field<'s>(said: &'s str, name: &str) -> Option<&'s str> {
    said.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// True of a replica that has not all data yet, or has not been heard of for longer than a fail-over takes.
fn is_behind(said: &str) -> bool {
    let lag = replicas_field(said, "lag").and_then(|lag| lag.parse::<u64>().ok()).unwrap_or(0);
    replicas_field(said, "state").is_some_and(|state| state != "online") || lag > LAG_MAX
}

fn min_replicas(patient: &Patient) -> Option<Check> {
    let id = "redis.min_replicas";
    let (count, least) = (patient.info_number("connected_slaves")?, patient.config_number("min-replicas-to-write")?);
    let seen = format!("min-replicas-to-write {least}, {count} connected");
    if count == 0 || least > 0 {
        return Some(Check::ok(id, "a primary that was cut off takes no writes for long", seen));
    }
    Some(
        Check::warning(id, "a primary that was cut off from its replicas goes on granting", seen)
            .means("if a replica takes over meanwhile, two servers grant the same locks: P1 is broken for as long as both are reached")
            .remedy(patient.set("min-replicas-to-write", "1")),
    )
}

fn view(patient: &Patient) -> Check {
    let id = "redis.view";
    if patient.unseen.is_empty() {
        return Check::ok(id, "all settings can be seen", "INFO and CONFIG GET are answered");
    }
    let what: Vec<String> = patient
        .unseen
        .iter()
        .map(|(what, denial)| match denial {
            Denial::Unknown => format!("{what} is switched off"),
            _ => format!("{what} is refused to the user {}", patient.user),
        })
        .collect();
    let missing = |name| patient.unseen.iter().any(|(what, _)| *what == name);
    let hidden = match (missing("INFO"), missing("CONFIG GET")) {
        (true, true) => "eviction policy, persistence, replicas, connections, buffers",
        (true, false) => "replicas, connections",
        _ => "save points, appendfsync, min-replicas-to-write, timeout, buffers of subscribers",
    };
    let check = Check::note(id, "some settings cannot be seen", format!("{}; not seen: {hidden}", what.join(", ")))
        .means("nothing for P1 to P3 by itself; what is not seen is not checked");
    let mendable = patient.unseen.iter().filter(|(_, denial)| *denial == Denial::Command);
    let rights: Vec<&str> = mendable.map(|(what, _)| if *what == "INFO" { "+info" } else { "+config|get" }).collect();
    if rights.is_empty() {
        return check;
    }
    check.remedy(patient.command(["ACL", "SETUSER", &patient.user].into_iter().chain(rights)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_is_named_as_the_replica_was_and_no_password_is_shown() {
        let of = |url| at_primary(url, "10.0.0.1", "6380");
        assert_eq!(of("redis://h"), "leasehold doctor --url redis://10.0.0.1:6380");
        assert_eq!(of("rediss://h:7/3?prefix=x"), "leasehold doctor --url 'rediss://10.0.0.1:6380/3?prefix=x'");
        let hidden = of("redis://app:pw@h:7/3");
        assert!(hidden.starts_with("leasehold doctor --url redis://10.0.0.1:6380/3    # put the user"), "{hidden}");
        assert!(!hidden.contains("pw@"), "{hidden}");
        let socket = of("redis+unix:///s?db=2&user=u&password=pw77&prefix=x");
        assert!(socket.starts_with("leasehold doctor --url 'redis://10.0.0.1:6380/2?prefix=x'    # put"), "{socket}");
        assert!(at_primary("redis://h", "::1", "1").ends_with("redis://[::1]:1'"), "{}", at_primary("redis://h", "::1", "1"));
    }

    #[test]
    fn a_replica_that_is_silent_or_not_online_is_behind() {
        let said = |state: &str, lag: u64| format!("ip=10.0.0.2,port=6379,state={state},offset=1234,lag={lag}");
        assert!(!is_behind(&said("online", 10)) && is_behind(&said("online", 11)) && is_behind(&said("send_bulk", 0)));
    }
}
