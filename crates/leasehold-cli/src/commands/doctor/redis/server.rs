//! What the server is: version, role, cluster, replicas, and what of it cannot be seen.

use super::patient::{Denial, Patient};
use crate::commands::doctor::finding::Check;

/// The oldest server that has all that the scripts use.
const OLDEST: u32 = 7;

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
            .remedy(format!("leasehold doctor --url redis://{host}:{port}")),
    )
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
    let replica = |at: u64| Some(format!("replica {at}: {}", patient.info(&format!("slave{at}"))?));
    let seen: Vec<String> = (0..count.min(3)).filter_map(replica).collect();
    Some(Check::note(id, "a fail-over can lose a grant", format!("{count} connected; {}", seen.join("; "))).means(
        "replicas follow later. If one takes over that lacks a grant, P1 is broken until the old holder's next renewal, and \
             P2 if its clock is behind; P3 holds where claim ids are compared too. Without a fail-over nothing is lost",
    ))
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
