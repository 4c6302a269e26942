//! Where a command writes and whom it asks: the real terminal, or what a test puts in its place.

use std::io::{self, BufRead as _, Read as _, Write};

use anyhow::Context as _;
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::Failure;

const MOST_INPUT: u64 = 64 * 1024;

/// Answers questions.
pub trait Ask {
    /// Whether somebody is there to answer.
    fn interactive(&self) -> bool;
    /// One line, its end cut off.
    fn line(&mut self) -> io::Result<String>;
    /// One line that is not shown while it is typed.
    fn secret(&mut self) -> io::Result<String>;
    /// All of standard input.
    fn rest(&mut self) -> io::Result<String>;
}

/// Where a command writes and whom it asks.
pub struct Terminal {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    ask: Box<dyn Ask>,
    width: Option<u16>,
}

impl Terminal {
    /// The process's own.
    pub fn real() -> Self {
        let out = io::stdout();
        let width = isatty(&out).then(|| tcgetwinsize(&out).map_or(80, |size| size.ws_col.max(40)));
        Self { out: Box::new(out), err: Box::new(io::stderr()), ask: Box::new(Keyboard), width }
    }

    /// Another one. `width` is that of a screen, none for a file or pipe.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, ask: Box<dyn Ask>, width: Option<u16>) -> Self {
        Self { out, err, ask, width }
    }

    /// The screen's width; none when the output goes elsewhere.
    pub(crate) fn width(&self) -> Option<u16> {
        self.width
    }

    /// Whether somebody is there to answer.
    pub(crate) fn interactive(&self) -> bool {
        self.ask.interactive()
    }

    /// Writes the result.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = write!(self.out, "{text}{end}").and_then(|()| self.out.flush());
        Ok(written.context("the output could not be written")?)
    }

    /// Writes a remark beside the result.
    pub(crate) fn note(&mut self, text: &str) {
        // Nowhere is left to say that this failed.
        let _ = writeln!(self.err, "{text}").and_then(|()| self.err.flush());
    }

    /// Asks for a line.
    pub(crate) fn question(&mut self, question: &str) -> Result<String, Failure> {
        self.prompt(question);
        Ok(self.ask.line().context("no answer could be read")?)
    }

    /// Asks for a line that is not shown.
    pub(crate) fn secret(&mut self, question: &str) -> Result<api::Secret, Failure> {
        self.prompt(question);
        let text = self.ask.secret().context("no answer could be read");
        self.note("");
        Ok(text?.into())
    }

    /// Asks a yes-or-no question; anything but yes is no.
    pub(crate) fn confirmed(&mut self, question: &str) -> Result<bool, Failure> {
        let answer = self.question(&format!("{question} [y/N] "))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// All of standard input.
    pub(crate) fn rest(&mut self) -> Result<String, Failure> {
        Ok(self.ask.rest().context("standard input could not be read")?)
    }

    fn prompt(&mut self, question: &str) {
        let _ = write!(self.err, "{question}").and_then(|()| self.err.flush());
    }
}

struct Keyboard;

impl Ask for Keyboard {
    fn interactive(&self) -> bool {
        isatty(io::stdin()) && isatty(io::stderr())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let read = io::stdin().lock().take(MOST_INPUT).read_line(&mut line)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn secret(&mut self) -> io::Result<String> {
        let _silence = Silence::new()?;
        self.line()
    }

    fn rest(&mut self) -> io::Result<String> {
        let mut text = String::new();
        io::stdin().lock().take(MOST_INPUT).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Echo is off while this lives.
struct Silence(Termios);

impl Silence {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
