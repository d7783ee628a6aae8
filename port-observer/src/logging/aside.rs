//! What is logged while the terminal shows a full screen.

use std::collections::VecDeque;

/// So many bytes of it are kept: of more, the last.
const KEPT_BYTES: usize = 1 << 20;
/// What the memory of a line takes beside its text.
const LINE_BYTES: usize = 64;

/// Lines, oldest first.
#[derive(Debug, Default)]
pub(super) struct Aside {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that made room for later ones.
    dropped: u64,
}

impl Aside {
    /// Keeps a line, or a text of several, of which no more than fits.
    pub(super) fn push(&mut self, line: &[u8]) {
        let line = &line[..line.len().min(KEPT_BYTES - LINE_BYTES)];
        self.bytes += cost(line);
        self.lines.push_back(line.to_vec());
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= cost(&oldest);
            self.dropped += 1;
        }
    }

    /// All that is to be written afterwards.
    pub(super) fn into_lines(self) -> impl Iterator<Item = Vec<u8>> {
        let note = (self.dropped > 0).then(|| {
            let count = self.dropped;
            format!("{count} lines of the log are missing here: the last MiB of it was kept\n")
        });
        note.map(String::into_bytes).into_iter().chain(self.lines)
    }
}

fn cost(line: &[u8]) -> usize {
    line.len() + LINE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(aside: Aside) -> Vec<String> {
        aside.into_lines().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    #[test]
    fn what_was_logged_meanwhile_is_there_in_its_order() {
        let mut aside = Aside::default();
        aside.push(b"one\n");
        aside.push(b"two\n");
        assert_eq!(texts(aside), ["one\n", "two\n"]);
        assert!(texts(Aside::default()).is_empty());
    }

    #[test]
    fn of_more_than_a_mebibyte_the_last_lines_are_kept_and_the_others_counted() {
        let mut aside = Aside::default();
        for number in 0..50_000 {
            aside.push(format!("{number:>99}\n").as_bytes());
            assert!(aside.bytes <= KEPT_BYTES);
        }
        aside.push(&[]);
        let lines = texts(aside);
        let kept = lines.len() - 1;
        assert!((5_000..11_000).contains(&kept), "{kept}");
        assert!(lines[0].starts_with(&format!("{} lines", 50_001 - kept)), "{}", lines[0]);
        assert!(lines[kept - 1].contains(" 49999"));
        let mut aside = Aside::default();
        aside.push(&vec![b'x'; 3 * KEPT_BYTES]);
        assert_eq!((texts(aside).len(), KEPT_BYTES), (1, 1 << 20));
    }
}
