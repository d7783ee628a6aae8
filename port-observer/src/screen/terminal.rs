//! The terminal: taken for the full screen, and given back as it was, whatever happens.

use std::{
    future::poll_fn,
    io,
    mem::ManuallyDrop,
    panic,
    sync::{Mutex, Once, PoisonError},
};

use crossterm::{
    cursor::Show,
    event::{
        DisableMouseCapture, EnableMouseCapture, Event, EventStream, KeyCode, KeyEvent,
        KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
    },
    execute, queue,
    terminal::{
        BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
        disable_raw_mode, enable_raw_mode,
    },
};
use futures_util::Stream as _;
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    layout::{Rect, Size},
};

use super::{
    sixteen::Sixteen,
    state::{Key, State},
    view::{self, Look, Places},
};
use crate::{
    logging,
    queued_writer::{QueuedWriter, unbuffered_output},
};

/// Columns and lines that are drawn at most. Whoever has the other end of a pseudo terminal may say that
/// it has 65,535 of each, and each cell takes memory and time.
const MOST: Size = Size { width: 1000, height: 500 };

/// The terminal on standard output. It is given back when this is dropped.
pub struct Screen {
    /// Never dropped: that tells standard error of a terminal that is gone, and panics if it is the same.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Sixteen<QueuedWriter>>>>,
    /// What the terminal is written through: one that was stopped (Ctrl-S) holds nothing else up.
    out: QueuedWriter,
    /// What is drawn on: the terminal's upper left part where that is larger than [`MOST`].
    area: Rect,
    /// A picture was left out, for the terminal had not taken the one before it.
    is_due: bool,
    /// Never dropped: that waits for its thread, which waits for keys, for ever if the terminal is gone.
    input: ManuallyDrop<EventStream>,
    look: Look,
    places: Places,
}

/// What the screen is given back through. `None`: it is not taken.
static TAKEN: Mutex<Option<QueuedWriter>> = Mutex::new(None);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard input or output is none, or does not do as it is told.
    pub fn open(look: Look) -> io::Result<Self> {
        give_back_on_panic();
        let out = QueuedWriter::new(unbuffered_output()?);
        take(&out)?;
        // From here on dropping gives it back.
        let backend = CrosstermBackend::new(Sixteen::new(out.clone()));
        let area = Rect::default();
        let options = TerminalOptions { viewport: Viewport::Fixed(area) };
        let terminal = Terminal::with_options(backend, options);
        let terminal = ManuallyDrop::new(terminal.inspect_err(|_| give_back())?);
        let input = ManuallyDrop::new(EventStream::new());
        Ok(Self { terminal, out, area, is_due: false, input, look, places: Places::default() })
    }

    /// Draws what has changed, in one piece; later, if the terminal has not taken what is there.
    ///
    /// # Errors
    /// When it can't be written; `BrokenPipe` when the terminal is gone.
    pub fn draw(&mut self, state: &mut State) -> io::Result<()> {
        self.is_due = self.out.pending_bytes() > 0;
        if self.is_due {
            return Ok(());
        }
        self.draw_now(state).map_err(gone)
    }

    fn draw_now(&mut self, state: &mut State) -> io::Result<()> {
        // One that does not know these passes over them.
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        if self.area != drawn(self.terminal.size()?) {
            self.forget()?;
        }
        let (look, places) = (&self.look, &mut self.places);
        let mut room = None;
        self.terminal.draw(|frame| room = Some(view::draw(frame, state, look, places)))?;
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)?;
        if let Some(room) = room {
            state.set_room(room);
        }
        Ok(())
    }

    /// What is on the terminal is not what was drawn.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn forget(&mut self) -> io::Result<()> {
        // Not `clear()`, which asks the terminal for its cursor and reads the answer off the keys.
        self.area = drawn(self.terminal.size()?);
        self.terminal.resize(self.area)
    }

    /// The terminal is somebody else's for a while.
    pub fn hand_back(&mut self) {
        give_back();
    }

    /// Takes it again.
    ///
    /// # Errors
    /// As [`Screen::open`]; `BrokenPipe` when the terminal is gone. The kernel sends SIGCONT after SIGHUP.
    pub fn take_again(&mut self) -> io::Result<()> {
        // Somebody may have set it otherwise, without our knowing.
        give_back();
        take(&self.out).and_then(|()| self.forget()).map_err(gone)
    }

    /// The next key; `None`: something that only needs a new picture, such as another size.
    ///
    /// # Errors
    /// When it can't be read, `UnexpectedEof` when there will be none any more.
    pub async fn key(&mut self) -> io::Result<Option<Key>> {
        let input = &mut self.input;
        let event = tokio::select! {
            event = poll_fn(|context| std::pin::Pin::new(&mut **input).poll_next(context)) => event,
            () = self.out.room(1), if self.is_due => return Ok(None),
        };
        match event {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Err(error)) => Err(error),
            Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => Ok(pressed(key)),
            Some(Ok(Event::Mouse(mouse))) => Ok(self.pointed(mouse)),
            Some(Ok(_)) => Ok(None),
        }
    }

    fn pointed(&self, MouseEvent { kind, column, row, .. }: MouseEvent) -> Option<Key> {
        match kind {
            MouseEventKind::Down(MouseButton::Left) => self.places.key(column, row),
            MouseEventKind::ScrollUp => Some(Key::Wheel(-1)),
            MouseEventKind::ScrollDown => Some(Key::Wheel(1)),
            _ => None,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// What is drawn on of a terminal.
fn drawn(size: Size) -> Rect {
    let Size { width, height } = size;
    Size { width: width.min(MOST.width), height: height.min(MOST.height) }.into()
}

/// `BrokenPipe` for what tty_write() and tty_ioctl() say of a terminal that was hung up.
fn gone(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::EIO) => io::ErrorKind::BrokenPipe.into(),
        _ => error,
    }
}

fn pressed(KeyEvent { code, modifiers, .. }: KeyEvent) -> Option<Key> {
    Some(match code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// A panic tells its story on a terminal that can show it.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            logging::finish();
            before(panic);
        }));
    });
}

fn take(out: &QueuedWriter) -> io::Result<()> {
    enable_raw_mode()?;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    *taken = Some(out.clone());
    drop(taken);
    logging::keep();
    execute!(out.clone(), EnterAlternateScreen, EnableMouseCapture).inspect_err(|_| give_back())
}

/// Does nothing if it is not taken. What can't be written has nowhere to be told, and a terminal that
/// takes nothing is waited for only shortly.
fn give_back() {
    let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut out) = taken else { return };
    let _ = execute!(out, EndSynchronizedUpdate, DisableMouseCapture, LeaveAlternateScreen, Show);
    out.wait_blocking();
    let _ = disable_raw_mode();
    logging::write_kept();
}
