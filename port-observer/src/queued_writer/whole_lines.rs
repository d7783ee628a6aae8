//! Text into a pipe in pieces that end with a line: who stops reading has no half of one.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsRawFd as _,
};

use nix::fcntl::{FcntlArg, fcntl};

/// In front of a file that may be a pipe.
#[derive(Debug)]
pub struct WholeLines(File);

impl WholeLines {
    /// Writes to `out`.
    pub fn new(out: File) -> Self {
        Self(out)
    }

    /// About how many bytes fit, at least as many as are written at once or not at all (pipe(7)).
    fn room(&self) -> usize {
        let Ok(capacity) = fcntl(&self.0, FcntlArg::F_GETPIPE_SZ) else {
            // It is no pipe.
            return usize::MAX;
        };
        let mut unread: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, which outlives the call.
        let asked = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
        let taken = match asked {
            // Its pages are half full at least, but the first and the last (pipe_write, fs/pipe.c).
            0 => unread.saturating_mul(2).saturating_add(2 * PAGE),
            _ => capacity,
        };
        usize::try_from(capacity.saturating_sub(taken)).unwrap_or(0).max(libc::PIPE_BUF)
    }
}

/// What of a pipe is given out at once.
const PAGE: libc::c_int = 4096;

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = piece(bytes, self.room());
        self.0.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The lines that fit, or the first if that is longer.
fn piece(bytes: &[u8], room: usize) -> &[u8] {
    let is_end = |byte: &u8| *byte == b'\n';
    let fitting = &bytes[..bytes.len().min(room)];
    let last = fitting.iter().rposition(is_end).or_else(|| bytes.iter().position(is_end));
    &bytes[..last.map_or(bytes.len(), |last| last + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_as_many_lines_as_fit_or_one() {
        for (bytes, room, expected) in [
            ("ab\ncd\nef", 8, "ab\ncd\n"),
            ("ab\ncd\nef", 5, "ab\n"),
            ("ab\ncd\nef", 2, "ab\n"),
            ("ab", 1, "ab"),
            ("", 1, ""),
        ] {
            assert_eq!(piece(bytes.as_bytes(), room), expected.as_bytes(), "{bytes:?} {room}");
        }
    }

    #[test]
    fn there_is_room_for_much_in_an_empty_pipe_and_for_one_write_in_a_full_one() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut lines = WholeLines::new(File::from(std::os::fd::OwnedFd::from(writer)));
        assert!(lines.room() >= 32 << 10);
        lines.0.write_all(&[b'x'; 40_000]).unwrap();
        assert_eq!(lines.room(), libc::PIPE_BUF);
        assert_eq!(WholeLines::new(File::open("/dev/null").unwrap()).room(), usize::MAX);
    }
}
