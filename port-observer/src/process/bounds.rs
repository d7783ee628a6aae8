//! How much of a process's text is kept. Anybody can give a process a command line of gigabytes, or
//! run very many programs: so each value is cut, and what all of them take together is bounded.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many bytes of a command line are kept, and read from `/proc/PID/cmdline`.
pub(super) const COMMAND_LINE_BYTES: usize = 4096;
/// How many arguments of a command line are kept.
pub(super) const ARGUMENTS: usize = 64;
/// How long a path may be: `PATH_MAX` (include/uapi/linux/limits.h), beyond which the kernel shows
/// none. Replacing what is no UTF-8 can make one longer.
pub(super) const PATH_BYTES: usize = 4096;

/// What an argument takes beside its bytes: the `String`, and the allocator's.
const ARGUMENT_OVERHEAD: usize = 40;
/// How many bytes of text are kept of all processes that anybody still keeps.
const ALL_BYTES: usize = 32 << 20;
/// The text of a new program may take this part of what is left. So the longest is whole until two
/// thirds are used, and the limit is never reached.
const SHARE: usize = 1024;

/// Which values of a process are only the beginning of longer ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The path of the executable.
    pub executable: bool,
    /// The command line: in the last argument, or after it.
    pub command_line: bool,
    /// The cgroup's path; the container may be missing.
    pub cgroup: bool,
}

impl Cut {
    /// The fields that are cut, by their names in the JSON.
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        let all = [
            ("executable", self.executable),
            ("command_line", self.command_line),
            ("cgroup", self.cgroup),
        ];
        all.into_iter().filter_map(|(name, is_cut)| is_cut.then_some(name))
    }

    /// As recordings have it: 1 for the executable, 2 for the command line, 4 for the cgroup, added.
    pub fn bits(self) -> u8 {
        u8::from(self.executable) | u8::from(self.command_line) << 1 | u8::from(self.cgroup) << 2
    }

    /// The opposite of [`Cut::bits`].
    pub fn from_bits(bits: i64) -> Self {
        let has = |bit: i64| bits & bit != 0;
        Self { executable: has(1), command_line: has(2), cgroup: has(4) }
    }
}

/// Counts the text of a process for as long as anybody keeps the process. It says nothing of who the
/// process is: all are equal.
#[expect(dead_code, reason = "that they are dropped is what counts")]
#[derive(Clone, Debug, Default)]
pub struct Weight {
    pub(super) program: Option<Arc<Counted>>,
    pub(super) place: Option<Arc<Counted>>,
}

impl PartialEq for Weight {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Weight {}

/// How many bytes of text are kept.
#[derive(Clone, Debug)]
pub(super) struct Total {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// So many bytes are kept until this is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl Default for Total {
    fn default() -> Self {
        Self::new(ALL_BYTES)
    }
}

impl Total {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the longest texts can no longer be kept whole.
    pub(super) fn is_short(&self) -> bool {
        self.used() > self.limit / 2
    }

    /// How many bytes the next text may have.
    pub(super) fn allowance(&self) -> usize {
        self.limit.saturating_sub(self.used()) / SHARE
    }

    pub(super) fn count(&self, bytes: usize) -> Arc<Counted> {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Arc::new(Counted { bytes, used: Arc::clone(&self.used) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A command line as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) words: Vec<String>,
    pub(super) is_cut: bool,
}

impl Arguments {
    /// From bytes as `/proc/PID/cmdline` and the kernel's copy have them, each argument ended by a NUL.
    /// `is_cut`: there was more.
    pub(super) fn parse(bytes: &[u8], is_cut: bool) -> Self {
        let bytes = if is_cut { without_partial_character(bytes) } else { bytes };
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
        if bytes.is_empty() {
            return Self { words: Vec::new(), is_cut };
        }
        Self::keep(bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy), is_cut, usize::MAX)
    }

    /// At most so many bytes of these, and no more than is ever kept.
    pub(super) fn keep<'a>(
        words: impl Iterator<Item = Cow<'a, str>>,
        is_cut: bool,
        bytes: usize,
    ) -> Self {
        let mut kept = Self { words: Vec::new(), is_cut };
        let (mut text_left, mut left) = (COMMAND_LINE_BYTES, bytes);
        for word in words {
            if kept.words.len() == ARGUMENTS {
                // Who overwrites its arguments with a title may leave NULs behind it.
                kept.is_cut |= !word.is_empty();
                continue;
            }
            let Some(room) = left.checked_sub(ARGUMENT_OVERHEAD) else {
                kept.is_cut = true;
                break;
            };
            let (word, is_cut) = beginning(word, room.min(text_left));
            left -= ARGUMENT_OVERHEAD + word.len();
            text_left -= word.len();
            if is_cut && word.is_empty() {
                kept.is_cut = true;
                break;
            }
            kept.words.push(word);
            if is_cut {
                kept.is_cut = true;
                break;
            }
        }
        kept
    }

    /// How much memory it takes.
    pub(super) fn weight(words: &[String]) -> usize {
        words.iter().map(|word| word.len() + ARGUMENT_OVERHEAD).sum()
    }
}

/// At most so many bytes of a text, and whether there were more.
pub(super) fn beginning(text: Cow<'_, str>, bytes: usize) -> (String, bool) {
    if text.len() <= bytes {
        return (text.into_owned(), false);
    }
    let end = text.floor_char_boundary(bytes);
    (text.get(..end).unwrap_or_default().to_owned(), true)
}

/// Without the first bytes of a character whose others were cut off.
pub(super) fn without_partial_character(bytes: &[u8]) -> &[u8] {
    for length in 1..=bytes.len().min(3) {
        let (whole, last) = bytes.split_at(bytes.len() - length);
        if std::str::from_utf8(last)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        {
            return whole;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8], is_cut: bool) -> (Vec<String>, bool) {
        let Arguments { words, is_cut } = Arguments::parse(bytes, is_cut);
        (words, is_cut)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_command_line_is_kept_as_it_is_up_to_its_limits() {
        assert_eq!(parsed(b"", false), (Vec::new(), false));
        assert_eq!(parsed(b"\0", false), (Vec::new(), false));
        assert_eq!(parsed(b"a\0\0", false), (words(&["a", ""]), false));
        assert_eq!(parsed(b"a\0b", false), (words(&["a", "b"]), false));
        assert_eq!(parsed("é\0caf\u{e9}".as_bytes(), true), (words(&["é", "café"]), true));
        // The last character was cut in two.
        assert_eq!(parsed(b"a\0caf\xc3", true), (words(&["a", "caf"]), true));
        assert_eq!(parsed(b"\xf0\x9f\x98", true), (Vec::new(), true));
        assert_eq!(parsed(b"a\0caf\xc3", false), (words(&["a", "caf\u{fffd}"]), false));
    }

    #[test]
    fn of_very_many_arguments_the_first_are_kept() {
        let many: Vec<u8> = b"x\0".repeat(ARGUMENTS);
        assert_eq!(parsed(&many, false).0.len(), ARGUMENTS);
        assert!(!parsed(&many, false).1);
        let more = [many.as_slice(), b"y\0"].concat();
        assert_eq!((parsed(&more, false).0.len(), parsed(&more, false).1), (ARGUMENTS, true));
        // A title with NULs after it.
        let title = [b"sshd: someone".as_slice(), &[0; 500]].concat();
        assert!(!parsed(&title, false).1 && parsed(&title, false).0.len() == ARGUMENTS);
    }

    #[test]
    fn bytes_that_grow_when_they_become_text_are_cut_too() {
        let (kept, is_cut) = parsed(&[0xff; COMMAND_LINE_BYTES], false);
        assert!(is_cut && kept[0].len() <= COMMAND_LINE_BYTES, "{}", kept[0].len());
        let (path, is_cut) = beginning("é".repeat(10).into(), 5);
        assert_eq!((path.as_str(), is_cut), ("éé", true));
    }

    #[test]
    fn the_fewer_bytes_are_left_the_less_is_kept() {
        for bytes in [0, 39, 40, 41, 100, 1000, 10_000] {
            let many = (0..60).map(|number| Cow::Owned(number.to_string()));
            let kept = Arguments::keep(many, false, bytes);
            assert!(Arguments::weight(&kept.words) <= bytes, "{bytes}");
            assert_eq!(kept.is_cut, bytes < 10_000);
        }
    }

    #[test]
    fn what_all_texts_take_together_stays_below_its_limit() {
        let total = Total::new(8 << 20);
        assert_eq!(total.allowance(), 8 << 10);
        let mut kept = Vec::new();
        for _ in 0..100_000 {
            kept.push(total.count(total.allowance().min(12_000)));
            assert!(total.used() <= 8 << 20);
        }
        assert!(total.used() > 7 << 20);
        drop(kept);
        assert_eq!(total.used(), 0);
    }

    #[test]
    fn cut_fields_are_named_and_numbered() {
        let cut = Cut { command_line: true, cgroup: true, ..Cut::default() };
        assert_eq!(cut.fields().collect::<Vec<_>>(), ["command_line", "cgroup"]);
        for bits in 0..8 {
            assert_eq!(i64::from(Cut::from_bits(bits).bits()), bits);
        }
        assert_eq!(Cut::default().fields().count(), 0);
    }
}
