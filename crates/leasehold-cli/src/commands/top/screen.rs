//! The terminal while it is ours, and as it was before whenever it ceases to be: on return, on an error, on a panic.

use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::style::ResetColor;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{execute, queue};
use ratatui::layout::{Position, Rect};
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
        let area = Rect::from((Position::ORIGIN, self.backend.size()?));
        if self.shown.area != area {
            self.backend.clear()?;
            self.shown = Buffer::empty(area);
        }
        self.next.resize(area);
        self.next.reset();
        paint(&mut self.next);
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
