//! Standard error as a terminal for the progress bar.
//!
//! The bar's own terminal asks the environment for TERM, which is empty by the time it is drawn: see `sandbox::scrub`.

use std::io::{self, Write};

use indicatif::TermLike;

/// The width where the terminal does not say.
const WIDTH: u16 = 80;

/// Standard error, which is a terminal.
#[derive(Debug)]
pub(super) struct Stderr;

fn write(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text.as_bytes())
}

/// Moves the cursor `n` places with the control sequence that ends in `end` (ECMA-48 "CUU", "CUD", "CUF", "CUB").
fn move_cursor(n: usize, end: char) -> io::Result<()> {
    if n == 0 {
        return Ok(());
    }
    write(&format!("\x1b[{n}{end}"))
}

impl TermLike for Stderr {
    fn width(&self) -> u16 {
        rustix::termios::tcgetwinsize(io::stderr())
            .map(|size| size.ws_col)
            .ok()
            .filter(|width| *width > 0)
            .unwrap_or(WIDTH)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        write(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        write(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        write("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}
