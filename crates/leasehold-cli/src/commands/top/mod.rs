//! `leasehold top`: all locks of a store, live on a terminal.

mod columns;
mod looker;
mod model;
mod past;
mod screen;
mod view;

use crate::args::Top;
use crate::exit::{self, Code};
use crate::obtain::refused;
use crate::say::plain;
use crate::store::{Fault, Store};
use crate::sys::{self, Signals};
use looker::{Looker, Task};
use model::{Act, Look, Model};
use ratatui::crossterm::event;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::isatty;
use screen::Screen;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use view::Scene;

/// Signals that are handled, so that the terminal is ours only while we run.
const SIGNALS: [i32; 6] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGTSTP, libc::SIGCONT];

/// How long the store has for its first answer before the screen is taken: a mistake is best told on the one before.
const FIRST_ANSWER: Duration = Duration::from_millis(300);

/// How long the goodbye to the store may take once the terminal is given back.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a signal waits for a terminal that takes no output.
const STUCK: Duration = Duration::from_secs(1);

/// The screen is drawn at least this often, for the clock on it.
const TICK: Duration = Duration::from_secs(1);

/// What happens.
pub enum Event {
    /// A look showed this.
    Seen(Look),
    /// A look, begun then, did not succeed, for this reason.
    Failed(Duration, String),
    /// The store refuses us, or its URL is wrong: looking on is of no use.
    Refused(Fault),
    /// A key, or another size.
    Typed(event::Event),
    /// A signal.
    Signal(i32),
    /// The terminal cannot be read any more.
    Deaf(io::Error),
}

/// Shows the locks until the user has seen enough.
pub fn top(args: Top) -> Result<Code, Fault> {
    needs_a_terminal()?;
    let store = Store::choose(&args.store)?;
    // Before any thread is started, so that none is interrupted by them.
    sys::block(&SIGNALS).map_err(refused)?;
    let begun = Instant::now();
    let (tell, events) = mpsc::channel();
    hear_signals(tell.clone()).map_err(refused)?;
    let scene = Scene {
        store: format!("{store:?}"),
        clock: String::new(),
        now: Duration::ZERO,
        every: args.every,
        colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    };
    let looker = Looker::start(Task { store, every: args.every, begun, tell: tell.clone() }).map_err(refused)?;
    let mut show = Show { model: Model::new(args.every), scene, begun, looker, is_stale: true };
    let ended = show.run(&events, tell);
    show.looker.end(GOODBYE);
    ended
}

fn needs_a_terminal() -> Result<(), Fault> {
    let wrong = |what: &str| {
        Err(Fault::usage(format!("top needs a terminal, and {what}; use `leasehold list --json`, or `watch leasehold list`")))
    };
    if !isatty(rustix::stdio::stdout()) {
        return wrong("its output goes elsewhere");
    }
    if !isatty(rustix::stdio::stdin()) {
        return wrong("its input comes from elsewhere");
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return wrong("TERM=dumb says that this one cannot move its cursor");
    }
    Ok(())
}

struct Show {
    model: Model,
    scene: Scene,
    begun: Instant,
    looker: Looker,
    /// True if the screen does not show the model as it is.
    is_stale: bool,
}

impl Show {
    fn run(&mut self, events: &Receiver<Event>, tell: Sender<Event>) -> Result<Code, Fault> {
        if let Ok(event) = events.recv_timeout(FIRST_ANSWER)
            && let Some(end) = self.hear(event, None)
        {
            return end;
        }
        let mut screen = Screen::enter().map_err(refused)?;
        hear_keys(tell);
        loop {
            if self.is_stale {
                self.draw(&mut screen).map_err(gone)?;
            }
            let tick = TICK.saturating_sub(Duration::from_nanos(u64::from(self.begun.elapsed().subsec_nanos())));
            let first = match events.recv_timeout(tick) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    self.is_stale = true;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("the looker is there as long as this"),
            };
            // Everything that has happened is drawn at once.
            for event in std::iter::once(first).chain(events.try_iter()) {
                if let Some(end) = self.hear(event, Some(&mut screen)) {
                    return end;
                }
            }
        }
    }

    fn draw(&mut self, screen: &mut Screen) -> io::Result<()> {
        self.scene.now = self.begun.elapsed();
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        self.scene.clock = now.get(11..19).map_or(now.clone(), |time| format!("{time} UTC"));
        self.is_stale = false;
        screen.draw(|buffer| view::draw(buffer, &mut self.model, &self.scene))
    }

    /// Takes an event; the end, if it is one.
    fn hear(&mut self, event: Event, screen: Option<&mut Screen>) -> Option<Result<Code, Fault>> {
        self.is_stale = true;
        match event {
            // What was under way when the pause began is not shown.
            Event::Seen(_) | Event::Failed(..) if self.model.is_paused => {}
            Event::Seen(look) => self.model.absorb(look),
            Event::Failed(asked, why) => self.model.fail(asked, why),
            Event::Refused(fault) => return Some(Err(fault)),
            Event::Deaf(error) => return Some(Err(gone(error))),
            Event::Signal(libc::SIGTSTP) => return stop(screen, false),
            Event::Signal(libc::SIGCONT) => return take_again(screen),
            Event::Signal(signal) => return Some(Ok(Code::of_signal(signal))),
            Event::Typed(event::Event::Key(key)) => match self.model.press(key) {
                Act::Stay => {}
                Act::Quit => return Some(Ok(exit::OK)),
                Act::Suspend => return stop(screen, true),
                Act::Repaint => return take_again(screen),
                Act::Pause(yes) => self.looker.pause(yes),
            },
            Event::Typed(_) => {}
        }
        None
    }
}

/// Stops as a job of a shell; the terminal is ours again when that continues it, or at once if nobody could.
fn stop(screen: Option<&mut Screen>, group: bool) -> Option<Result<Code, Fault>> {
    if screen.is_some() {
        screen::restore();
    }
    sys::stop(group);
    take_again(screen)
}

/// Takes the terminal anew, whatever was done to it.
fn take_again(screen: Option<&mut Screen>) -> Option<Result<Code, Fault>> {
    screen?.again().err().map(|error| Err(gone(error)))
}

fn gone(error: io::Error) -> Fault {
    Fault { code: exit::UNAVAILABLE, message: format!("the terminal is gone: {}", plain(&error.to_string())) }
}

/// Tells every key. The thread ends with the process.
fn hear_keys(tell: Sender<Event>) {
    thread::spawn(move || {
        loop {
            let (event, is_over) = match event::read() {
                Ok(event) => (Event::Typed(event), false),
                Err(error) => (Event::Deaf(error), true),
            };
            if tell.send(event).is_err() || is_over {
                return;
            }
        }
    });
}

/// Tells every signal. The thread ends with the process.
fn hear_signals(tell: Sender<Event>) -> io::Result<()> {
    let signals = Signals::open(&SIGNALS)?;
    thread::Builder::new().name("leasehold-top-signals".into()).spawn(move || {
        loop {
            let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
            while let Some(arrival) = signals.next() {
                let _ = tell.send(Event::Signal(arrival.signal));
                if ![libc::SIGTSTP, libc::SIGCONT].contains(&arrival.signal) {
                    // A terminal that takes no output would hold up the end for ever.
                    thread::sleep(STUCK + GOODBYE);
                    screen::restore_modes();
                    std::process::exit(128 + arrival.signal);
                }
            }
        }
    })?;
    Ok(())
}
