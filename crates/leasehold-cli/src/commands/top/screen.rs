//! The terminal while it is ours, and as it was before whenever it ceases to be: on return, on an error, on a panic.

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::{Position, Rect, Size};
use ratatui::text::Span;
use std::io::{self, BufWriter, Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the terminal is ours at this moment.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal, with a screen of its own that is left when this is dropped.
///
/// Not `ratatui::Terminal`: that one asks the terminal where its cursor is before it clears, which the thread that reads keys
/// would answer, and panics when it is dropped on a terminal that is gone.
pub struct Screen {
    backend: CrosstermBackend<BufWriter<Stdout>>,
    shown: Buffer,
    next: Buffer,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Those of the operating system; the terminal is then as it was.
    pub fn enter() -> io::Result<Screen> {
        restore_on_panic();
        enter()?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(1 << 16, stdout()));
        Ok(Screen { backend, shown: Buffer::default(), next: Buffer::default() })
    }

    /// Draws what differs from the frame before.
    ///
    /// # Errors
    /// Those of the terminal, such as that it is gone.
    pub fn draw(&mut self, paint: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        // A terminal that does not know its size, such as a serial line, says that it has none.
        let size = Some(self.backend.size()?).filter(|size| size.width > 0 && size.height > 0).unwrap_or(Size::new(80, 24));
        let area = Rect::from((Position::ORIGIN, size));
        if self.shown.area != area {
            self.backend.clear()?;
            self.shown = Buffer::empty(area);
        }
        self.next.resize(area);
        self.next.reset();
        paint(&mut self.next);
        forget_wide_rows(&mut self.shown, &self.next);
        self.backend.draw(self.shown.diff(&self.next).into_iter())?;
        Backend::flush(&mut self.backend)?;
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }

    /// Takes the terminal again after it was given back or used by others, and draws the next frame as a whole.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn again(&mut self) -> io::Result<()> {
        // The modes may have been changed behind our back, and would otherwise be believed to be ours still.
        restore_modes();
        self.shown = Buffer::default();
        enter()
    }
}

/// Makes rows that change and had a wide character be drawn as a whole: what half of one becomes when the other half is
/// written over is every terminal's own affair.
fn forget_wide_rows(shown: &mut Buffer, next: &Buffer) {
    let width = usize::from(shown.area.width).max(1);
    for (old, new) in shown.content.chunks_mut(width).zip(next.content.chunks(width)) {
        let is_wide = |cell: &Cell| !cell.symbol().is_ascii() && Span::raw(cell.symbol()).width() > 1;
        if old != new && old.iter().any(is_wide) {
            old.fill(Cell::new("?"));
            for (old, new) in old.iter_mut().zip(new) {
                // Different from whatever comes.
                old.modifier = !new.modifier;
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, if it is ours.
pub fn restore() {
    if OURS.swap(false, Ordering::AcqRel) {
        let _ = execute!(stdout(), ResetColor, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Gives back what can be given back even if the terminal takes no more output: its modes.
pub fn restore_modes() {
    if OURS.load(Ordering::Acquire) {
        let _ = disable_raw_mode();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    OURS.store(true, Ordering::Release);
    let mut out = stdout();
    let entered = queue!(out, EnterAlternateScreen, Hide).and_then(|()| out.flush());
    if entered.is_err() {
        restore();
    }
    entered
}

/// A panic is told on the screen that the user sees afterwards. One of another thread ends the program too.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        let here = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            let was_ours = OURS.load(Ordering::Acquire);
            restore();
            before(info);
            if was_ours && std::thread::current().id() != here {
                std::process::exit(101);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    use std::fs::{File, OpenOptions};
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    /// Says to this test that it is the process on the terminal, and who panics.
    const ROLE: &str = "LEASEHOLD_TEST_PANIC";
    const SELF: &str = "commands::top::screen::tests::a_panic_of_any_thread_gives_the_terminal_back_and_is_told_there";

    fn panic_on_a_screen(whose: &str) {
        let mut screen = Screen::enter().unwrap();
        screen.draw(|buffer| buffer.set_string(0, 0, "shown", ratatui::style::Style::new())).unwrap();
        if whose == "ours" {
            panic!("no more of it");
        }
        std::thread::spawn(|| panic!("no more of it"));
        std::thread::park();
    }

    #[test]
    fn a_row_that_had_a_wide_character_is_drawn_as_a_whole() {
        let mut shown = Buffer::with_lines(["鎖abc", "鎖abc", "abcde"]);
        let next = Buffer::with_lines(["xyabc", "鎖abc", "abxde"]);
        forget_wide_rows(&mut shown, &next);
        let drawn: Vec<(u16, u16)> = shown.diff(&next).into_iter().map(|(x, y, _)| (x, y)).collect();
        assert_eq!(drawn, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (2, 2)]);
    }

    #[test]
    fn a_panic_of_any_thread_gives_the_terminal_back_and_is_told_there() {
        if let Ok(whose) = std::env::var(ROLE) {
            return panic_on_a_screen(&whose);
        }
        for whose in ["ours", "another's"] {
            let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&terminal).unwrap();
            unlockpt(&terminal).unwrap();
            let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
            let side = OwnedFd::from(OpenOptions::new().read(true).write(true).open(name).unwrap());
            let stdio = || Stdio::from(side.try_clone().unwrap());
            let mut child = Command::new("setsid");
            child.arg("--ctty").arg(std::env::current_exe().unwrap()).args([SELF, "--exact", "--nocapture"]);
            child.env(ROLE, whose).env("RUST_BACKTRACE", "0").stdin(stdio()).stdout(stdio()).stderr(stdio());
            let status = child.spawn().unwrap().wait().unwrap();
            assert_eq!(status.code(), Some(101), "{whose}");
            let modes = tcgetattr(&side).unwrap().local_modes;
            assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{whose}");
            let mut bytes = [0; 16_384];
            let count = File::from(terminal).read(&mut bytes).unwrap();
            let told = String::from_utf8_lossy(&bytes[..count]).into_owned();
            let at = |text: &str| told.find(text).unwrap_or_else(|| panic!("{whose}: no {text:?} in {told:?}"));
            let order = [at("\x1b[?1049h"), at("shown"), at("\x1b[?1049l"), at("\x1b[?25h"), at("no more of it")];
            assert!(order.is_sorted(), "{whose}: {order:?}");
        }
    }
}
