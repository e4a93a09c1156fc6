//! Whether the server keeps what it was told: eviction, memory, persistence, and whether it takes writes.

use super::patient::{Patient, bytes};
use crate::commands::doctor::finding::Check;

/// All that settings and statistics say.
pub fn checks(patient: &Patient) -> Vec<Check> {
    [eviction(patient), memory(patient), persistence(patient), fsync(patient), disk(patient)].into_iter().flatten().collect()
}

fn maxmemory(patient: &Patient) -> Option<u64> {
    patient.config_number("maxmemory").or_else(|| patient.info_number("maxmemory"))
}

fn policy(patient: &Patient) -> Option<&str> {
    patient.config("maxmemory-policy").or_else(|| patient.info("maxmemory_policy"))
}

fn eviction(patient: &Patient) -> Option<Check> {
    let id = "redis.eviction";
    let (policy, limit) = (policy(patient)?, maxmemory(patient)?);
    let evicted = patient.info("evicted_keys").unwrap_or("unknown");
    let limited = if limit == 0 { "no maxmemory".into() } else { format!("maxmemory {}", bytes(limit)) };
    let seen = format!("maxmemory-policy {policy}, {limited}, evicted keys so far: {evicted}");
    if policy == "noeviction" {
        return Some(Check::ok(id, "no key is evicted", seen));
    }
    let whose =
        if policy.starts_with("volatile") { "every lock has a ttl, which is what this policy evicts" } else { "any key may go" };
    let check = if limit == 0 {
        Check::warning(id, "the server would evict locks if it had a maxmemory", seen)
            .means(format!("nothing at present; with a maxmemory set, P1 is broken by an eviction: {whose}"))
    } else {
        Check::danger(id, "the server may evict locks", seen).means(format!(
            "P1 is broken by an eviction, {whose}: another is granted, and the holder is told at its next renewal, up to a \
             third of its ttl later. P2 and P3 hold as far as the server's clock does not go back"
        ))
    };
    Some(check.remedy(patient.set("maxmemory-policy", "noeviction")))
}

fn memory(patient: &Patient) -> Option<Check> {
    let id = "redis.memory";
    let (used, limit) = (patient.info_number("used_memory")?, maxmemory(patient)?);
    if limit == 0 {
        return Some(Check::ok(id, "there is memory left", format!("{} used, no maxmemory", bytes(used))));
    }
    let seen = format!("{} of {} used", bytes(used), bytes(limit));
    let means = "where keys are not evicted, claims are refused with OOM: nobody is granted a lock that is free. Renewals and \
                 releases go on, so P1 to P3 hold";
    let remedy = more_memory(patient)?;
    Some(if used >= limit {
        Check::danger(id, "the server's memory is used up", seen).means(means).remedy(remedy)
    } else if used / 9 >= limit / 10 {
        Check::warning(id, "the server's memory is nearly used up", seen).means(means).remedy(remedy)
    } else {
        Check::ok(id, "there is memory left", seen)
    })
}

/// Half as much again as there is, or as is used.
fn more_memory(patient: &Patient) -> Option<String> {
    let most = maxmemory(patient)?.max(patient.info_number("used_memory")?);
    Some(patient.set("maxmemory", &format!("{}mb", (most >> 20) * 3 / 2 + 64)))
}

fn persistence(patient: &Patient) -> Option<Check> {
    let id = "redis.persistence";
    let by_info = patient.info("aof_enabled").map(|on| on == "1");
    let aof = patient.config("appendonly").map(|on| on == "yes").or(by_info)?;
    if aof {
        return Some(Check::ok(id, "grants are written to a log", "appendonly yes"));
    }
    let forgets = "P1 is broken by a restart: others are granted, and old holders are told at their next renewal, up to a third of \
                   their ttl later. P2 and P3 hold as far as the server's clock does not go back";
    let check = match patient.config("save") {
        Some("") => {
            Check::danger(id, "nothing is kept: a restart forgets all locks", "appendonly no, no save points").means(forgets)
        }
        Some(points) => Check::warning(
            id,
            "only snapshots are kept: a crash forgets all locks that are younger",
            format!("appendonly no, save points {points:?}"),
        )
        .means(format!("a shutdown in order keeps all. By a crash {forgets}")),
        None => Check::warning(id, "there is no log of grants: a crash forgets locks", "appendonly no; save points are not seen")
            .means(forgets),
    };
    Some(check.remedy(patient.set("appendonly", "yes")))
}

fn fsync(patient: &Patient) -> Option<Check> {
    let id = "redis.fsync";
    if patient.config("appendonly")? != "yes" {
        return None;
    }
    let often = patient.config("appendfsync")?;
    let seen = format!("appendfsync {often}");
    let check = match often {
        "always" => return Some(Check::ok(id, "a grant is on disk before it is told", seen)),
        "everysec" => Check::note(id, "a crash may forget the last two seconds of grants", seen)
            .means("P1 is broken by a crash of the server, for locks granted in the two seconds before it, until their next renewal"),
        _ => Check::warning(id, "a crash of the host may forget the last half minute of grants", seen)
            .means("P1 is broken by a crash of the server's host, for locks granted since the system last wrote, until their next renewal"),
    };
    Some(check.remedy(patient.set("appendfsync", "always")))
}

/// What the server says of its disk; whether it takes writes is tried besides.
fn disk(patient: &Patient) -> Option<Check> {
    let id = "redis.disk";
    let (snapshot, log) = (patient.info("rdb_last_bgsave_status")?, patient.info("aof_last_write_status")?);
    let seen = format!("last snapshot {snapshot}, last write to the log {log}");
    if snapshot == "ok" && log == "ok" {
        return Some(Check::ok(id, "the server can write to its disk", seen));
    }
    Some(
        Check::warning(id, "the server cannot write to its disk", seen)
            .means("a restart forgets what was not written, which breaks P1; and the server may refuse all writes with MISCONF")
            .remedy(format!("{}\n{}", patient.command(["CONFIG", "GET", "dir"]), patient.command(["BGSAVE"]))),
    )
}

/// What came of a write under a name of our own, if one was tried.
pub fn writes(patient: &Patient, wrote: Option<&Result<(), String>>) -> Option<Check> {
    let code = wrote?.as_ref().err().map(String::as_str);
    Some(written(patient, code))
}

/// `code` is the server's refusal, if it was one.
fn written(patient: &Patient, code: Option<&str>) -> Check {
    let id = "redis.writes";
    let seen = |code: &str| format!("SET under a name of our own: {code}");
    let refused = |title: &str, code: &str| {
        Check::danger(id, title, seen(code)).means("locks do not work: nothing is granted until the server takes writes again")
    };
    match code {
        None => Check::ok(id, "the server takes writes", seen("OK")),
        Some(code @ "READONLY") => refused("the server takes no writes: it is a replica", code).remedy(patient.command(["ROLE"])),
        Some(code @ "MASTERDOWN") => {
            refused("the server takes no writes: it is a replica that lost its primary", code).remedy(patient.command(["ROLE"]))
        }
        Some(code @ "OOM") => {
            let look = || patient.command(["INFO", "memory"]);
            refused("the server takes no writes: it is out of memory", code).remedy(more_memory(patient).unwrap_or_else(look))
        }
        Some(code @ "MISCONF") => {
            refused("the server takes no writes: it cannot save its data", code).remedy(patient.command(["BGSAVE"]))
        }
        Some(code @ "NOREPLICAS") => refused("the server takes no writes: too few replicas are connected", code)
            .remedy(patient.command(["INFO", "replication"])),
        Some(code @ ("MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT")) => {
            refused("the server is a node of a cluster", code).remedy("# name a server without cluster-enabled in the URL")
        }
        Some(code) => {
            refused("the server refuses to write", code).remedy(patient.command(["SET", &patient.keys().lock, "1", "PX", "1"]))
        }
    }
}
