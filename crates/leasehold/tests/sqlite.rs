//! The embedded engine in several processes: exclusion, hand-off, kills, damaged files, foreign boots.
#![cfg(feature = "sqlite")]

#[path = "support/sqlite_processes.rs"]
mod processes;

use leasehold::engine::{Notice, Reach, ReleaseCall, RenewCall};
use leasehold::{ClaimId, ErrorKind, Want};
use leasehold_core::{Ask, Bound, ClaimReply, Manner, ReleaseReply, RenewReply, ReqNo};
use processes::{Client, Process, Site, brief, is_root, lasting, name, run_job};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant as StdInstant};

/// Generous: these wait for what comes at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The other processes of these tests run this one test, with a job in their environment.
#[test]
fn a_process_of_its_own_does_its_job() {
    run_job();
}

#[test]
fn processes_never_hold_at_once() {
    let site = Site::new();
    let mut workers: Vec<Process> = (0..4).map(|_| site.spawn("contend", "2000")).collect();
    let turns: Vec<u64> = workers.iter_mut().map(|worker| worker.told_number("turns")).collect();
    assert!(workers.iter_mut().all(Process::is_well), "no worker met another inside");
    assert!(turns.iter().all(|turns| *turns > 0), "everybody had a turn: {turns:?}");
    site.assert_no_residue();
}

#[test]
fn processes_that_make_the_database_together_share_it() {
    for _ in 0..5 {
        let site = Site::new();
        let mut workers: Vec<Process> = (0..6).map(|_| site.spawn("try", "a")).collect();
        let replies: Vec<String> = workers.iter_mut().map(|worker| worker.told("reply")).collect();
        assert_eq!(replies.iter().filter(|reply| *reply == "granted").count(), 1, "{replies:?}");
        assert!(workers.iter_mut().all(Process::is_well));
    }
}

#[test]
fn a_kill_at_any_point_harms_nobody_else() {
    let site = Site::new();
    let mut survivors = [site.spawn("contend", "6000"), site.spawn("contend", "6000")];
    let until = StdInstant::now() + Duration::from_secs(4);
    let mut pause = 1;
    while StdInstant::now() < until {
        let mut victim = site.spawn("contend", "60000");
        victim.told("ready");
        pause = pause * 7 % 97;
        std::thread::sleep(Duration::from_millis(pause * 3));
        victim.kill();
    }
    for survivor in &mut survivors {
        assert!(survivor.told_number("turns") > 0);
        assert!(survivor.is_well(), "nobody met another inside");
    }
    let check: String = site.raw().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn rows_of_killed_processes_are_swept_by_whoever_claims_something_else() {
    let site = Site::new();
    let mut killed = site.spawn("hold", "forgotten");
    killed.told("granted");
    killed.kill();
    assert_eq!(site.rows(), 1);
    let deadline = StdInstant::now() + PATIENCE;
    while site.rows() > 0 {
        assert!(StdInstant::now() < deadline, "the row was not swept");
        let client = site.client();
        let claim = client.granted("another", brief()).await;
        client.release("another", claim).await;
        client.engine.close().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_release_wakes_a_waiter_of_another_process() {
    let site = Site::new();
    let mut holder = site.spawn("hold", "a");
    holder.told("granted");
    let mut client = site.client();
    let mut call = client.call("a", lasting());
    call.ask = Ask { no: ReqNo(7), first: true, wait: true, spare: 0 };
    let claim = call.claim;
    assert!(matches!(client.engine.claim(call).await, Ok(ClaimReply::Queued(_))));
    holder.let_go();
    let grant = client.hear_grant().await;
    assert_eq!((grant.claim, grant.bound), (claim, Bound::FromAsk(ReqNo(7))));
    assert_eq!(client.release("a", claim).await, ReleaseReply::Released);
}

#[tokio::test]
async fn a_revocation_is_told_to_the_holder_in_another_process() {
    let site = Site::new();
    let mut holder = site.spawn("hold", "a");
    let claim = holder.told("granted").parse().unwrap();
    let client = site.client();
    let call = ReleaseCall::new(name("a"), claim, Manner::Revoke);
    assert_eq!(client.engine.release(call).await.unwrap(), ReleaseReply::Released);
    assert_eq!(holder.told("revoked"), claim.to_string());
}

#[tokio::test]
async fn who_holds_is_shown_with_process_and_label() {
    let site = Site::new();
    let mut holder = site.spawn("hold", "a");
    holder.told("granted");
    let client = site.client();
    let shown = client.engine.inspect(name("a"), client.soon()).await.unwrap();
    let about = shown.holders[0].about.as_ref().unwrap();
    assert_eq!((about.pid, about.label.as_deref()), (holder.id(), Some("worker")));
}

#[tokio::test]
async fn the_socket_of_a_killed_waiter_is_removed_by_whoever_would_wake_it() {
    let site = Site::new();
    let client = site.client();
    let claim = client.granted("a", lasting()).await;
    let mut waiter = site.spawn("queue", "a");
    waiter.told("queued");
    assert_eq!(site.sockets(), 2);
    waiter.kill();
    client.release("a", claim).await;
    // The verb is answered before the message goes out.
    site.eventually("the dead socket is gone", || site.sockets() == 1);
}

#[test]
fn nobody_starves_while_all_hammer_the_same_file() {
    let site = Site::new();
    let mut workers: Vec<Process> = (0..4).map(|_| site.spawn("hammer", "3000")).collect();
    let cycles: Vec<u64> = workers.iter_mut().map(|worker| worker.told_number("cycles")).collect();
    let mean = cycles.iter().sum::<u64>() / 4;
    println!("cycles in 3 s by four processes: {cycles:?}");
    assert!(cycles.iter().all(|cycles| cycles * 4 >= mean), "someone had less than a quarter of the mean: {cycles:?}");
}

#[tokio::test]
async fn a_deleted_database_is_told_as_lost_and_made_anew() {
    let site = Site::new();
    let (holder, mut waiter) = (site.client(), site.client());
    let claim = holder.granted("a", lasting()).await;
    let mut call = waiter.call("a", lasting());
    call.ask.wait = true;
    assert!(matches!(waiter.engine.claim(call.clone()).await, Ok(ClaimReply::Queued(_))));
    fs::remove_file(site.path()).unwrap();
    let renewal = RenewCall::new(name("a"), claim, Want::ALL_OF_ONE, lasting());
    assert_eq!(holder.engine.renew(renewal).await.unwrap(), RenewReply::Lost);
    call.ask = Ask { no: ReqNo(2), first: false, wait: true, spare: 0 };
    assert!(matches!(waiter.engine.claim(call).await, Ok(ClaimReply::Granted(_))));
    assert!(matches!(waiter.notices.recv().await, Some(Notice::LinkUp)), "waiters are told to ask again");
    // Both are on the same new file.
    assert!(matches!(holder.try_claim("a", lasting()).await, ClaimReply::Busy(_)));
    assert_eq!(site.mode(&site.path()), 0o600);
}

#[tokio::test]
async fn a_database_replaced_by_another_never_keeps_two_holders() {
    let (site, other) = (Site::new(), Site::new());
    other.client().engine.close().await.unwrap();
    let holder = site.client();
    let claim = holder.granted("a", lasting()).await;
    fs::rename(other.path(), site.path()).unwrap();
    two_never_hold(&site, &holder, claim).await;
}

#[tokio::test]
async fn a_database_without_its_log_or_index_never_keeps_two_holders() {
    for suffix in ["-wal", "-shm"] {
        let site = Site::new();
        let holder = site.client();
        let claim = holder.granted("a", lasting()).await;
        fs::remove_file(format!("{}{suffix}", site.path().display())).unwrap();
        two_never_hold(&site, &holder, claim).await;
    }
}

/// A newcomer is busy, or it is granted and the holder's renewal is lost; afterwards all see the same locks.
async fn two_never_hold(site: &Site, holder: &Client, claim: ClaimId) {
    let granted = site.spawn("try", "a").told("reply") == "granted";
    let renewal = RenewCall::new(name("a"), claim, Want::ALL_OF_ONE, lasting());
    let lost = holder.engine.renew(renewal).await.unwrap() == RenewReply::Lost;
    assert_eq!(granted, lost, "either the one holds or the other");
    assert!(matches!(holder.try_claim("a", lasting()).await, ClaimReply::Busy(_)));
    assert_eq!(site.spawn("try", "a").told("reply"), "busy");
}

#[tokio::test]
async fn a_database_cut_to_nothing_is_told_as_lost() {
    let site = Site::new();
    let holder = site.client();
    let claim = holder.granted("a", lasting()).await;
    fs::File::options().write(true).open(site.path()).unwrap().set_len(0).unwrap();
    let renewal = RenewCall::new(name("a"), claim, Want::ALL_OF_ONE, lasting());
    assert_eq!(holder.engine.renew(renewal).await.unwrap(), RenewReply::Lost);
    holder.granted("a", lasting()).await;
}

#[test]
fn a_file_that_is_no_database_is_refused_with_advice() {
    let site = Site::new();
    fs::write(site.path(), "these are no locks\n".repeat(400)).unwrap();
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("move it away"), "{error}");
    assert!(error.to_string().starts_with("sqlite: "), "{error}");
    fs::remove_file(site.path()).unwrap();
    fs::create_dir(site.path()).unwrap();
    assert_eq!(site.try_open().unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_file_that_was_cut_is_refused_with_advice() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", lasting()).await;
    client.engine.close().await.unwrap();
    fs::File::options().write(true).open(site.path()).unwrap().set_len(5000).unwrap();
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("move it away"), "{error}");
}

#[tokio::test]
async fn a_damaged_row_is_refused_with_advice_and_harms_no_other_resource() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", lasting()).await;
    site.raw().execute("UPDATE holder SET claim = 'nobody'", []).unwrap();
    let error = client.engine.claim(client.call("a", lasting())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("damaged"), "{error}");
    client.granted("b", lasting()).await;
}

#[test]
fn the_database_of_another_application_is_left_alone() {
    let site = Site::new();
    site.raw().execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY)").unwrap();
    let before = fs::read(site.path()).unwrap();
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("another application"), "{error}");
    assert_eq!(fs::read(site.path()).unwrap(), before);
    site.raw().execute_batch("DROP TABLE orders; PRAGMA application_id = 7").unwrap();
    assert_eq!(site.try_open().unwrap_err().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_database_of_a_newer_leasehold_is_refused() {
    let site = Site::new();
    site.client().engine.close().await.unwrap();
    site.raw().execute_batch("PRAGMA user_version = 2").unwrap();
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("written by a newer leasehold"), "{error}");
}

#[test]
fn a_file_with_two_names_is_refused() {
    let site = Site::new();
    drop(site.try_open().unwrap());
    fs::hard_link(site.path(), site.directory().join("second.db")).unwrap();
    site.eventually("it is refused", || site.try_open().is_err_and(|error| error.kind() == ErrorKind::Config));
}

#[tokio::test]
async fn what_this_user_may_not_write_is_a_permission_error() {
    // The last needs two users, hence root.
    let cases = [(0o444, 0o777), (0o666, 0o555), (0o600, 0o777)];
    for (file, directory) in cases.into_iter().take(if is_root() { 3 } else { 2 }) {
        let site = Site::new();
        site.client().engine.close().await.unwrap();
        fs::remove_dir_all(site.wake()).unwrap();
        fs::set_permissions(site.path(), Permissions::from_mode(file)).unwrap();
        fs::set_permissions(site.directory(), Permissions::from_mode(directory)).unwrap();
        let mut stranger = site.spawn_unprivileged("open");
        assert_eq!(stranger.told("error"), "Permission", "file {file:o}, directory {directory:o}");
    }
}

#[tokio::test]
async fn what_is_made_belongs_to_this_user_alone() {
    let site = Site::new();
    let nested = site.directory().join("state").join("leasehold");
    let client = site.client_at(&nested.join("locks.db"));
    client.granted("a", lasting()).await;
    for made in ["state", "state/leasehold", "state/leasehold/locks.db-wake"] {
        assert_eq!(site.mode(&site.directory().join(made)), 0o700, "{made}");
    }
    for made in ["locks.db", "locks.db-wal", "locks.db-shm"] {
        assert_eq!(site.mode(&nested.join(made)), 0o600, "{made}");
    }
    fs::set_permissions(site.directory(), Permissions::from_mode(0o755)).unwrap();
    site.client();
    assert_eq!(site.mode(site.directory()), 0o755, "a directory that was there keeps its mode");
}

#[tokio::test]
async fn nothing_is_left_after_the_last_release_and_goodbye() {
    let site = Site::new();
    let (first, second) = (site.client(), site.client());
    let claim = first.granted("a", lasting()).await;
    let mut call = second.call("a", lasting());
    call.ask.wait = true;
    second.engine.claim(call.clone()).await.unwrap();
    first.release("a", claim).await;
    second.release("a", call.claim).await;
    first.engine.close().await.unwrap();
    second.engine.close().await.unwrap();
    site.assert_no_residue();
    let error = first.engine.claim(first.call("a", lasting())).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false));
    first.engine.close().await.unwrap();
}

#[tokio::test]
async fn a_path_longer_than_a_sockets_address_has_wake_ups_too() {
    let site = Site::new();
    let path = site.directory().join("long".repeat(20)).join("path".repeat(20)).join("locks.db");
    let (holder, mut waiter) = (site.client_at(&path), site.client_at(&path));
    let claim = holder.granted("a", lasting()).await;
    let mut call = waiter.call("a", lasting());
    call.ask.wait = true;
    waiter.engine.claim(call).await.unwrap();
    holder.release("a", claim).await;
    waiter.hear_grant().await;
}

#[tokio::test]
async fn a_removed_socket_is_made_anew_and_waiters_are_told_to_ask_again() {
    let site = Site::new();
    let mut client = site.client();
    fs::remove_dir_all(site.wake()).unwrap();
    let claim = client.granted("a", lasting()).await;
    assert!(matches!(client.notices.recv().await, Some(Notice::LinkUp)));
    assert_eq!(site.sockets(), 1);
    client.release("a", claim).await;
}

#[tokio::test]
async fn a_database_that_does_not_get_free_in_time_is_unavailable_and_nothing_was_done() {
    let site = Site::new();
    let client = site.client();
    let raw = site.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut claim = client.call("a", lasting());
    claim.io_deadline = client.world.now() + Duration::from_secs(3);
    let mut release = ReleaseCall::new(name("b"), claim.claim, Manner::RevokeNow);
    release.io_deadline = client.world.now() + Duration::from_millis(100);
    let begun = StdInstant::now();
    let (claim, release) = (client.engine.claim(claim), client.engine.release(release));
    let error = release.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false));
    assert!(begun.elapsed() < Duration::from_secs(3), "it is not kept waiting for the verb before it");
    let error = claim.await.unwrap_err();
    assert_eq!((error.kind(), error.outcome_unknown()), (ErrorKind::Unavailable, false));
    raw.execute_batch("ROLLBACK").unwrap();
    client.granted("a", lasting()).await;
}

#[tokio::test]
async fn a_dropped_claim_leaves_nothing_behind_its_release() {
    let site = Site::new();
    let client = site.client();
    for _ in 0..200 {
        let call = client.call("a", lasting());
        let claim = call.claim;
        drop(client.engine.claim(call));
        drop(client.engine.release(ReleaseCall::new(name("a"), claim, Manner::Own { keep: Duration::ZERO })));
    }
    assert_eq!(client.engine.list(client.soon()).await.unwrap(), []);
    client.granted("a", lasting()).await;
}

#[test]
fn an_engine_answers_without_any_runtime() {
    let site = Site::new();
    let client = site.client();
    let reply = futures_util::future::FutureExt::now_or_never(client.engine.claim(client.call("a", lasting())));
    assert!(reply.is_none_or(|reply| reply.is_ok()));
    let shown = processes::block_on(client.engine.inspect(name("a"), client.soon())).unwrap();
    assert!(shown.holders.len() <= 1);
    let capabilities = client.engine.capabilities();
    assert_eq!((capabilities.name, capabilities.reach), ("sqlite", Reach::Host));
    assert!(capabilities.queue && capabilities.permits && capabilities.push);
}

#[tokio::test]
async fn a_row_of_another_boot_ends_after_it_was_seen_unchanged_for_its_full_span() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", brief()).await;
    site.make_foreign("holder");
    // However much of it may have passed on its own clock.
    tokio::time::sleep(brief().ttl * 2).await;
    let seen = client.world.now();
    assert!(matches!(client.try_claim("a", brief()).await, ClaimReply::Busy(_)));
    client.until_granted("a", brief()).await;
    assert!(client.world.now().since(seen) >= brief().ttl, "it was seen unchanged for its full span first");
}

#[tokio::test]
async fn processes_that_live_for_one_verb_finish_the_watch_together() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", brief()).await;
    client.engine.close().await.unwrap();
    site.make_foreign("holder");
    let visitor = site.client();
    assert!(matches!(visitor.try_claim("a", brief()).await, ClaimReply::Busy(_)));
    visitor.engine.close().await.unwrap();
    tokio::time::sleep(brief().ttl + Duration::from_millis(50)).await;
    site.client().granted("a", brief()).await;
}

#[tokio::test]
async fn a_sign_of_life_begins_the_watch_anew() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", brief()).await;
    site.make_foreign("holder");
    for _ in 0..8 {
        assert!(matches!(client.try_claim("a", brief()).await, ClaimReply::Busy(_)));
        tokio::time::sleep(brief().ttl / 4).await;
        site.raw().execute("UPDATE holder SET version = version + 1", []).unwrap();
    }
    client.until_granted("a", brief()).await;
}

#[tokio::test]
async fn a_waiter_of_another_boot_keeps_nobody_waiting() {
    let site = Site::new();
    let (holder, dead, mut waiter) = (site.client(), site.client(), site.client());
    let claim = holder.granted("a", lasting()).await;
    let mut call = dead.call("a", lasting());
    call.ask.wait = true;
    dead.engine.claim(call).await.unwrap();
    site.make_foreign("waiter");
    let mut call = waiter.call("a", lasting());
    call.ask.wait = true;
    waiter.engine.claim(call.clone()).await.unwrap();
    holder.release("a", claim).await;
    assert_eq!(waiter.hear_grant().await.claim, call.claim);
}

#[tokio::test]
async fn a_disk_that_takes_no_more_is_unavailable_and_loses_nothing() {
    let site = Site::new();
    let mut worker = site.spawn_limited("fill", 200);
    assert_eq!(worker.told("error"), "Unavailable");
    let granted = worker.told_number("granted");
    assert!(worker.is_well());
    let client = site.client();
    assert_eq!(client.engine.list(client.soon()).await.unwrap().len() as u64, granted);
    client.granted("one more", lasting()).await;
}

#[tokio::test]
async fn a_symbolic_link_leads_to_the_same_locks() {
    let site = Site::new();
    let client = site.client();
    client.granted("a", lasting()).await;
    let link = site.directory().join("link.db");
    std::os::unix::fs::symlink(site.path(), &link).unwrap();
    assert!(matches!(site.client_at(&link).try_claim("a", lasting()).await, ClaimReply::Busy(_)));
    assert!(!Path::new(&format!("{}-wake", link.display())).exists());
}
