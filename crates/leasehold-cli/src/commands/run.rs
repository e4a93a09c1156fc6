//! `leasehold run`: a command under a lock, ended before the lock is.

use super::{on_runtime, release};
use crate::args::{OnLost, Run};
use crate::exit::{self, Code};
use crate::held::{self, Door, Held, Joined};
use crate::keeper::link::Link;
use crate::keeper::rule::Spans;
use crate::keeper::wire::{Note, Order, Setup};
use crate::keeper::{self};
use crate::lease::{Change, Lease};
use crate::metrics;
use crate::obtain::{Ears, Wish, goodbye, obtain, refused};
use crate::report::{CommandEnd, Story, stamp};
use crate::say::{humane, say};
use crate::store::{Fault, Store};
use crate::sys::{self, Arrival, Mask};
use leasehold::{Instant, Released, Renewal, ResourceName};
use rustix::process::{getpgrp, getpid};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the release may take; the lease ends by itself if it fails.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs the command, and exits as it does.
pub fn run(args: Run) -> Result<Code, Fault> {
    let mut story = Story::begin(&args.name);
    let code = begin(&args, &mut story).unwrap_or_else(|fault| {
        say(&fault.message);
        story.error = Some(fault.message);
        fault.code
    });
    story.exit_code = Some(code);
    write_down(&args, &story);
    if story.interrupted {
        // A script goes on after a Ctrl-C if what it waited for exits as if it had dealt with it.
        sys::die_of_interrupt();
    }
    Ok(code)
}

fn begin(args: &Run, story: &mut Story) -> Result<Code, Fault> {
    check(args)?;
    let mask = sys::block(&sys::FORWARDED).map_err(refused)?;
    // While the command has the terminal, our own words come from the background; with `stty tostop` they would stop us.
    sys::block(&[libc::SIGTTOU]).map_err(refused)?;
    let store = Store::choose(&args.store)?;
    on_runtime(tell(args, &store, mask, story))
}

/// What the user wants to have in files. A file that cannot be written changes nothing about how the run ends.
fn write_down(args: &Run, story: &Story) {
    let complain = |option: &str, file: &Path, written: io::Result<()>| {
        if let Err(error) = written {
            say(format_args!("{option} {}: {error}", file.display()));
        }
    };
    if let Some(file) = &args.report {
        complain("--report", file, story.write(file));
    }
    if let Some(file) = &args.metrics_file {
        complain("--metrics-file", file, metrics::write(story, file));
    }
}

/// What can be told to be wrong before anything is asked.
fn check(args: &Run) -> Result<(), Fault> {
    ResourceName::new(&args.name).map_err(|error| Fault::usage(error.to_string()))?;
    if args.report.is_some() && args.report == args.metrics_file {
        return Err(Fault::usage("--report and --metrics-file want a file each"));
    }
    let most = Spans::most_grace(args.policy.ttl);
    if let Some(grace) = args.grace.filter(|grace| *grace > most) {
        let message = format!("--grace {grace:?} is more than a third of the ttl ({most:?}), so a healthy run would be ended");
        return Err(Fault::usage(message));
    }
    Ok(())
}

async fn tell(args: &Run, store: &Store, mask: Mask, story: &mut Story) -> Result<Code, Fault> {
    let ears = Ears::open().map_err(refused)?;
    let lease = lease(args, store, &ears, story).await?;
    let door = open_door(args, store, &lease);
    let link = start(args, mask, &lease, door.as_ref());
    let link = match link {
        Ok(link) => link,
        Err(error) => {
            let_go(lease, story).await;
            return Err(refused(error));
        }
    };
    let mut watch = Watch { args, ears: &ears, lease, door, story, begun: keeper::now(), so_far: SoFar::default() };
    let code = watch.follow(link).await;
    let Watch { lease, .. } = watch;
    tokio::select! {
        () = let_go(lease, story) => {}
        _ = ears.end() => say("the lock ends by itself; its release was cut short"),
    }
    Ok(code)
}

/// A share in an outer run's lease, or one of our own.
async fn lease(args: &Run, store: &Store, ears: &Ears, story: &mut Story) -> Result<Lease, Fault> {
    let begun = keeper::now();
    let lease = match Joined::find(&args.name, store).await {
        Some(joined) => Lease::Joined(joined),
        None => {
            let renew = if args.no_renew { Renewal::Off } else { Renewal::Auto };
            let (policy, waiting, quiet) = (&args.policy, &args.waiting, args.store.quiet);
            let wish = Wish { name: &args.name, store, policy, waiting, renew, quiet };
            let obtained = obtain(&wish, ears).await;
            story.waited = Some(keeper::now().since(begun));
            story.refused = matches!(&obtained, Err(fault) if fault.code == exit::BUSY);
            Lease::own(obtained.map_err(|fault| waiting.as_asked(fault))?, policy.ttl)
        }
    };
    let now = keeper::now();
    let waited = now.since(begun);
    story.granted_at = Some(stamp());
    story.held_since = Some(now);
    story.waited = Some(waited);
    story.waited_ms = Some(super::view::millis(waited));
    story.joined = matches!(lease, Lease::Joined(_));
    story.claim = Some(lease.claim());
    story.token = Some(lease.token());
    Ok(lease)
}

/// Lets nested runs in; only a lease of our own has a door.
fn open_door(args: &Run, store: &Store, lease: &Lease) -> Option<Door> {
    let Lease::Own { ttl, told, .. } = lease else { return None };
    let held = Held {
        name: args.name.clone(),
        store: store.fingerprint(),
        claim: lease.claim(),
        token: lease.token(),
        socket: format!("leasehold/{}", lease.claim()),
    };
    // Without a door, nothing can join; the run itself is as good.
    Door::open(held, *ttl, *told).ok()
}

fn start(args: &Run, mask: Mask, lease: &Lease, door: Option<&Door>) -> io::Result<Link> {
    let spans = Spans::of(lease.ttl(), args.grace.unwrap_or(Spans::DEFAULT_GRACE));
    let setup = Setup {
        deadline_ns: lease.deadline().as_nanos(),
        grace_ms: super::view::millis(spans.grace),
        reserve_ms: super::view::millis(spans.reserve),
        kills: args.on_lost == OnLost::Kill,
        job_group: getpgrp().as_raw_nonzero().get(),
        leads: getpgrp() == getpid(),
        mask,
    };
    let mut around = held::around();
    around.extend(door.map(|door| door.held().clone()));
    let env = [
        ("LEASEHOLD_NAME", args.name.clone()),
        ("LEASEHOLD_TOKEN", lease.token().to_string()),
        ("LEASEHOLD_CLAIM", lease.claim()),
        (held::VARIABLE, held::text(&around)),
    ];
    Link::start(&setup, &args.command, &env)
}

/// Gives the lease back. Whatever becomes of that, the command's own exit code stands.
async fn let_go(lease: Lease, story: &mut Story) {
    story.not_held(keeper::now());
    let Lease::Own { granted, .. } = lease else {
        story.release = Some("joined".into());
        return;
    };
    let released = timeout(FAREWELL, granted.guard.release()).await;
    story.release = Some(match released {
        Ok(Ok(released)) => {
            let word = release::word(&released);
            if released != Released::Released && story.lost.is_none() {
                say(format_args!("the lock was not held any more at its release: {word}"));
            }
            word.into()
        }
        Ok(Err(error)) => {
            say(format_args!("the lock ends by itself; its release failed: {}", Fault::from(error).message));
            "failed".into()
        }
        Err(_) => {
            say("the lock ends by itself; its release was not answered");
            "failed".into()
        }
    });
    goodbye(granted.client).await;
}

/// One run, from the keeper's start to the end of the command's tree.
struct Watch<'a> {
    args: &'a Run,
    ears: &'a Ears,
    lease: Lease,
    door: Option<Door>,
    story: &'a mut Story,
    begun: Instant,
    so_far: SoFar,
}

/// What a run has come to.
#[derive(Debug, Default)]
struct SoFar {
    /// How the command ended.
    end: Option<CommandEnd>,
    /// The lease said that it is lost.
    lease_lost: bool,
    /// The keeper told the tree to end because of the lease.
    ending: bool,
    /// The command shares our process group.
    shared: bool,
    /// The keeper was told to end what the command left behind.
    swept: bool,
}

impl Watch<'_> {
    /// Until nothing of the tree is left, nor anybody who joined.
    async fn follow(&mut self, mut link: Link) -> Code {
        loop {
            let to_sweep = self.so_far.end.is_some() && !self.so_far.swept && !self.args.wait_tree;
            tokio::select! {
                note = link.note() => match note {
                    Some(Note::Gone(lost)) => {
                        link.finish();
                        return self.gone(lost).await;
                    }
                    Some(note) => self.heard(note, &link).await,
                    None => return self.bereaved(link).await,
                },
                change = self.lease.changed(), if !self.so_far.lease_lost => self.changed(change, Some(&link)),
                arrival = self.ears.next() => self.pass_on(arrival, &link),
                () = all_left(self.door.as_ref()), if to_sweep => {
                    self.so_far.swept = true;
                    link.tell(Order::Sweep);
                }
            }
        }
    }

    async fn heard(&mut self, note: Note, link: &Link) {
        match note {
            Note::Started(_) | Note::Gone(_) => {}
            Note::NotStarted(errno) => {
                self.ended(CommandEnd::NotStarted(errno));
                let command = self.args.command[0].to_string_lossy();
                say(format_args!("{command}: {}", io::Error::from_raw_os_error(errno)));
            }
            Note::Shared => self.so_far.shared = true,
            Note::Stopped(_) => {
                sys::stop(true);
                // Running again, or never stopped because no shell could continue us; the pause is for the stop to take hold.
                sleep(Duration::from_millis(100)).await;
                link.tell(Order::Continue);
            }
            Note::Exited(code) => self.ended(CommandEnd::Exited(code)),
            Note::Killed(signal) => self.ended(CommandEnd::Killed(signal)),
            Note::Ending => self.told_to_end(),
            Note::Killing => {
                if self.so_far.ending {
                    say("killing what is left of the command");
                }
            }
            Note::Immune(count) => say(format_args!("{count} of the command's processes cannot be killed by this user")),
        }
    }

    fn ended(&mut self, end: CommandEnd) {
        self.so_far.end = Some(end);
        self.story.command = Some(end);
    }

    fn told_to_end(&mut self) {
        self.so_far.ending = true;
        if self.story.lost.is_some() {
            say("ending the command");
            return;
        }
        let why = self.why_unrenewed();
        if let Some(door) = &self.door {
            door.lost(why);
        }
        let left = humane(self.lease.deadline().since(keeper::now()));
        say(format_args!("the lock {} ends in {left}: {why}; ending the command", self.args.name));
        self.story.lost = Some(why.into());
    }

    fn why_unrenewed(&self) -> &'static str {
        let held = keeper::now().since(self.begun);
        match self.args.policy.max_hold {
            _ if self.args.no_renew => "it is not renewed",
            Some(max_hold) if held >= max_hold => "--max-hold is reached",
            _ => "no renewal came through in time",
        }
    }

    fn changed(&mut self, change: Change, link: Option<&Link>) {
        match change {
            Change::Until(deadline) => {
                if let Some(link) = link {
                    link.tell(Order::Renewed(deadline.as_nanos()));
                }
                if let Some(door) = &self.door {
                    door.renewed(deadline);
                }
            }
            Change::Doubt(_) => {}
            Change::Lost(why) => {
                self.so_far.lease_lost = true;
                self.story.not_held(keeper::now());
                if let Some(link) = link {
                    link.tell(Order::Lost);
                }
                if let Some(door) = &self.door {
                    door.lost(&why);
                }
                let ends = if self.args.on_lost == OnLost::Warn { ", and the command runs on without it" } else { "" };
                say(format_args!("lost the lock {}: {why}{ends}", self.args.name));
                self.story.lost = Some(why);
            }
        }
    }

    fn pass_on(&self, arrival: Arrival, link: &Link) {
        // In a shared group the terminal has signalled the command itself already.
        if !(self.so_far.shared && arrival.from_terminal) {
            link.tell(Order::Signal(arrival.signal));
        }
        if self.so_far.shared && arrival.signal == libc::SIGTSTP {
            sys::stop(false);
        }
    }

    /// The tree is gone; the lock stays until those who joined from outside of it have left too.
    async fn gone(&mut self, lost: bool) -> Code {
        self.story.ended_at = Some(stamp());
        if lost && self.so_far.end.is_none() && !self.so_far.ending {
            say(format_args!("too little was left of the lock {} to start the command", self.args.name));
        }
        self.see_joiners_out().await;
        self.story.interrupted = self.so_far.shared && self.so_far.end == Some(CommandEnd::Killed(libc::SIGINT));
        match self.so_far.end {
            _ if lost => exit::LOST,
            Some(CommandEnd::Exited(code)) => Code::of_command(code),
            Some(CommandEnd::Killed(signal)) => Code::of_signal(signal),
            Some(CommandEnd::NotStarted(errno)) => Code::of_start(errno),
            None => exit::LOST,
        }
    }

    /// Waits for those who joined from outside of the tree: to their end, or, once the lock is lost, to the last deadline
    /// that they were told, by which their own keepers have ended what they guard.
    async fn see_joiners_out(&mut self) {
        let mut last = None;
        loop {
            if self.story.lost.is_some() {
                last.get_or_insert(self.lease.deadline());
            }
            let left = last.map_or(Duration::ZERO, |last| last.since(keeper::now()));
            tokio::select! {
                () = all_left(self.door.as_ref()) => return,
                () = sleep(left), if last.is_some() => return,
                change = self.lease.changed(), if !self.so_far.lease_lost => self.changed(change, None),
            }
        }
    }

    /// The keeper is dead.
    async fn bereaved(&mut self, link: Link) -> Code {
        say("the keeper was killed: killing the command");
        let why = self.story.lost.get_or_insert_with(|| "the keeper was killed".into());
        if let Some(door) = &self.door {
            door.lost(why);
        }
        let immune = link.clean_up().await;
        if immune > 0 {
            say(format_args!("{immune} of the command's processes cannot be killed by this user"));
        }
        self.story.ended_at = Some(stamp());
        self.see_joiners_out().await;
        exit::LOST
    }
}

/// Waits until nobody is inside, and lets nobody in any more.
async fn all_left(door: Option<&Door>) {
    if let Some(door) = door {
        door.close_when_empty().await;
    }
}
