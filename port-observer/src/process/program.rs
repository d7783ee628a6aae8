//! What a process runs, from one exec to the next.

use std::{borrow::Cow, sync::Arc};

use super::bounds::{Arguments, Counted, Cut, PATH_BYTES, Total, beginning};
use super::cgroup::Place;
use crate::event::Exec;

/// A program, as it is kept.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The thread group leader's name.
    pub(super) name: Option<String>,
    pub(super) executable: Option<Arc<str>>,
    pub(super) command_line: Arc<[String]>,
    pub(super) cut: Cut,
    /// Its cgroup, maybe by the last component of its path alone.
    pub(super) cgroup: Option<Arc<Place>>,
    pub(super) knowledge: Knowledge,
    /// Of executable and command line.
    pub(super) weight: Option<Arc<Counted>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// Nothing: it was running before observing began, or its exec was lost.
    #[default]
    Nothing,
    /// The kernel's copy, cut off, or with a path that is not absolute.
    Partial,
    /// All there is to know.
    Full,
}

impl Program {
    /// As the kernel's side tells it.
    pub(super) fn of_exec(exec: &Exec, cgroup: Option<Arc<Place>>, total: &Total) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let is_cut = exec.is_executable_cut || exec.is_command_line_cut;
        let is_full = exec.executable.starts_with('/') && !is_cut && !exec.command_line.is_empty();
        let mut words: Vec<Cow<'_, str>> =
            exec.command_line.iter().map(|word| Cow::Borrowed(word.as_str())).collect();
        if exec.is_command_line_cut
            && let Some(last) = words.last_mut()
        {
            // Of a character that was cut in two.
            *last = last.trim_end_matches('\u{fffd}').to_owned().into();
        }
        Self {
            name: text(&exec.task.name),
            cgroup,
            knowledge: if is_full { Knowledge::Full } else { Knowledge::Partial },
            ..Self::kept(
                text(&exec.executable),
                exec.is_executable_cut,
                words.into_iter(),
                exec.is_command_line_cut,
                total,
            )
        }
    }

    /// As /proc shows it.
    pub(super) fn read(
        name: String,
        executable: Option<String>,
        arguments: Arguments,
        cgroup: Option<Arc<Place>>,
        total: &Total,
    ) -> Self {
        let Arguments { words, is_cut } = arguments;
        Self {
            name: Some(name),
            cgroup,
            knowledge: Knowledge::Full,
            ..Self::kept(executable, false, words.into_iter().map(Cow::Owned), is_cut, total)
        }
    }

    /// No more text than there is room for.
    fn kept<'a>(
        executable: Option<String>,
        is_executable_cut: bool,
        words: impl Iterator<Item = Cow<'a, str>>,
        is_command_line_cut: bool,
        total: &Total,
    ) -> Self {
        let room = total.allowance();
        let (executable, is_longer) = match executable {
            None => (None, false),
            Some(path) => {
                let (path, is_longer) = beginning(path.into(), room.min(PATH_BYTES));
                (Some(path).filter(|path| !path.is_empty()), is_longer)
            }
        };
        let length = executable.as_ref().map_or(0, String::len);
        let arguments = Arguments::keep(words, is_command_line_cut, room - length);
        let cut = Cut {
            executable: is_executable_cut || is_longer,
            command_line: arguments.is_cut,
            cgroup: false,
        };
        let mut program = Self {
            executable: executable.map(Into::into),
            command_line: arguments.words.into(),
            cut,
            ..Self::default()
        };
        program.count(total);
        program
    }

    fn count(&mut self, total: &Total) {
        let executable = self.executable.as_ref().map_or(0, |path| path.len());
        self.weight = Some(total.count(executable + Arguments::weight(&self.command_line)));
    }

    /// This, with what /proc shows now; `None`: that is of another program, or has been overwritten.
    pub(super) fn completed(&self, read: Self, total: &Total) -> Option<Self> {
        if !continues(&self.command_line, &read.command_line) {
            return None;
        }
        // There may be less room than there was.
        let is_longer = bytes(&read.command_line) >= bytes(&self.command_line);
        let (command_line, is_command_line_cut) = if is_longer {
            (read.command_line, read.cut.command_line)
        } else {
            (Arc::clone(&self.command_line), self.cut.command_line)
        };
        let (executable, is_executable_cut) = if self.keeps_executable(read.executable.as_deref()) {
            (self.executable.clone(), self.cut.executable)
        } else {
            (read.executable, read.cut.executable)
        };
        let mut program = Self {
            name: self.name.clone(),
            executable,
            command_line,
            cut: Cut {
                executable: is_executable_cut,
                command_line: is_command_line_cut,
                cgroup: false,
            },
            cgroup: match (&self.cgroup, read.cgroup) {
                (Some(name), Some(path)) if !ends_with(&path, name) => Some(Arc::clone(name)),
                (name, None) => name.clone(),
                (_, path) => path,
            },
            knowledge: Knowledge::Full,
            weight: None,
        };
        program.count(total);
        Some(program)
    }

    /// The executable's path: the one given to execve() if it is absolute and whole (of a script it is
    /// the script, where /proc has the interpreter), else that of /proc.
    fn keeps_executable(&self, read: Option<&str>) -> bool {
        match (self.executable.as_deref(), read) {
            (Some(kept), Some(read)) => kept.starts_with('/') && !read.starts_with(kept),
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }
}

/// Whether a cgroup's path ends with the name that is known of it.
fn ends_with(path: &Place, name: &Place) -> bool {
    path.path.rsplit('/').next() == name.path.rsplit('/').next()
}

/// Whether two command lines, of which either may be cut off, can be the same: as text, one begins
/// with the other.
fn continues(kept: &[String], whole: &[String]) -> bool {
    let (kept, whole) = (kept.join("\0"), whole.join("\0"));
    whole.starts_with(&kept) || (!whole.is_empty() && kept.starts_with(&whole))
}

fn bytes(words: &[String]) -> usize {
    words.iter().map(|word| word.len() + 1).sum()
}
