//! The last answer, kept for whoever asks again soon, so that a host with a million sockets is not
//! gone through every few seconds.
//!
//! It lies in a directory that nobody else can write to, and is taken only if it is a file of the
//! same user; it is replaced as a whole.

use std::{
    env,
    ffi::OsString,
    fs::{DirBuilder, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{Read as _, Write as _},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, renameat},
    sys::stat::{Mode, SFlag, fstat},
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};
use serde::{Deserialize, Serialize};

use super::Status;
use crate::{kernel::clock, own_file};

/// For root.
const RUN: &str = "/run/port-observer";
/// More is no answer: it names twenty consumers and a few namespaces.
const MOST_BYTES: u64 = 1 << 20;

/// Where the answer to one question is kept.
pub struct Place {
    directory: OwnedFd,
    name: String,
    /// The whole question: its name is shorter.
    question: String,
}

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How it was.
    pub status: Status,
    /// As it was printed.
    pub line: String,
    /// How long ago.
    pub age: Duration,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    question: String,
    /// Nanoseconds since boot, and which boot.
    time_ns: u64,
    boot: String,
    exit_code: u8,
    line: String,
}

impl Place {
    /// The place for the answer to this question, in `$RUNTIME_DIRECTORY`, else in
    /// `/run/port-observer` for root and in `$XDG_RUNTIME_DIR/port-observer` for others.
    ///
    /// # Errors
    /// When there is no such directory, or others may write to it.
    pub fn find(question: String) -> Result<Self> {
        let (path, is_made) = path(|name| env::var_os(name), geteuid().is_root())?;
        if !is_made {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("can't make {}", path.display()));
                }
                _ => {}
            }
        }
        Self::within(&path, question)
    }

    fn within(path: &Path, question: String) -> Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = open(path, flags, Mode::empty())
            .with_context(|| format!("can't open the directory {}", path.display()))?;
        own_file::check_own(&fstat(&directory)?)
            .with_context(|| format!("the directory {}", path.display()))?;
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        let name = format!("check-{:016x}.json", hasher.finish());
        Ok(Self { directory, name, question })
    }

    /// The last answer, if it is younger.
    ///
    /// # Errors
    /// When what is there is not a file of this user's own.
    pub fn last(&self, max_age: Duration) -> Result<Option<Kept>> {
        // Not blocked by a FIFO.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match openat(&self.directory, &*self.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("can't open {}", self.name)),
        };
        let status = fstat(&file)?;
        if own_file::kind(&status) != SFlag::S_IFREG {
            bail!("{} is not a file", self.name);
        }
        own_file::check_own(&status).with_context(|| format!("the file {}", self.name))?;
        let mut text = String::new();
        let read = File::from(file).take(MOST_BYTES).read_to_string(&mut text);
        // Of an older version, or damaged: it is written anew.
        let Some(contents) = read.ok().and_then(|_| serde_json::from_str::<Contents>(&text).ok())
        else {
            return Ok(None);
        };
        let Contents { question, time_ns, boot, exit_code, line } = contents;
        let now_ns = clock::now_boot_ns()?;
        if question != self.question || boot != clock::boot_id()? || time_ns > now_ns {
            return Ok(None);
        }
        let age = Duration::from_nanos(now_ns - time_ns);
        let status = Status::ALL.into_iter().find(|status| status.exit_code() == exit_code);
        Ok(status.filter(|_| age < max_age).map(|status| Kept { status, line, age }))
    }

    /// Keeps an answer of now.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&self, status: Status, line: &str) -> Result<()> {
        let contents = Contents {
            question: self.question.clone(),
            time_ns: clock::now_boot_ns()?,
            boot: clock::boot_id()?,
            exit_code: status.exit_code(),
            line: line.to_owned(),
        };
        // Of this process alone: a reader never sees half an answer.
        let new = format!(".{}.{}", self.name, std::process::id());
        let written = self.write(&new, &serde_json::to_vec(&contents)?).and_then(|()| {
            renameat(&self.directory, &*new, &self.directory, &*self.name).context("can't replace")
        });
        if written.is_err() {
            let _ = unlinkat(&self.directory, &*new, UnlinkatFlags::NoRemoveDir);
        }
        written.with_context(|| format!("can't keep the answer in {}", self.name))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let create = || openat(&self.directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let file = match create() {
            // Left by a process of the same number that was killed.
            Err(Errno::EEXIST) => {
                unlinkat(&self.directory, name, UnlinkatFlags::NoRemoveDir)?;
                create()?
            }
            other => other?,
        };
        File::from(file).write_all(bytes).context("can't write")
    }
}

/// Which directory, and whether it was made by somebody else.
fn path(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Result<(PathBuf, bool)> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let runtime = variable("RUNTIME_DIRECTORY");
    // systemd gives several, with colons between them (systemd.exec(5)).
    let first = runtime.and_then(|all| env::split_paths(&all).next()).and_then(absolute);
    if let Some(path) = first {
        return Ok((path, true));
    }
    if is_root {
        return Ok((PathBuf::from(RUN), false));
    }
    match variable("XDG_RUNTIME_DIR").map(PathBuf::from).and_then(absolute) {
        Some(path) => Ok((path.join("port-observer"), false)),
        None => bail!(
            "there is no directory to keep it in: set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to one \
             that is this user's own"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    /// A directory of this test's own.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("check-{name}-{}", std::process::id()));
            DirBuilder::new().mode(0o700).create(&path).unwrap();
            Self(path)
        }

        fn place(&self, question: &str) -> Place {
            Place::within(&self.0, question.to_owned()).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_answer_is_found_again_while_it_is_young_enough_and_by_its_question_alone() {
        let directory = Directory::new("again");
        let place = directory.place("a");
        assert_eq!(place.last(HOUR).unwrap(), None);
        place.keep(Status::Warning, "one").unwrap();
        place.keep(Status::Critical, "two").unwrap();
        let kept = place.last(HOUR).unwrap().unwrap();
        assert_eq!((kept.status, &*kept.line), (Status::Critical, "two"));
        assert!(kept.age < HOUR);
        assert_eq!(place.last(Duration::ZERO).unwrap(), None);
        assert_eq!(directory.place("b").last(HOUR).unwrap(), None);
        // Another question of the same name.
        let mut other = directory.place("b");
        other.name.clone_from(&place.name);
        assert_eq!(other.last(HOUR).unwrap(), None);
        let files = fs::read_dir(&directory.0).unwrap().count();
        assert_eq!(files, 1, "nothing else is left behind");
    }

    #[test]
    fn what_is_damaged_or_of_another_boot_or_from_the_future_is_no_answer() {
        let directory = Directory::new("damaged");
        let place = directory.place("a");
        place.keep(Status::Ok, "fine").unwrap();
        let path = directory.0.join(&place.name);
        let good = fs::read_to_string(&path).unwrap();
        let mut contents: Contents = serde_json::from_str(&good).unwrap();
        contents.time_ns = u64::MAX;
        let future = serde_json::to_string(&contents).unwrap();
        let boot = good.replace(clock::boot_id().unwrap().trim(), "another");
        let status = good.replace("\"exit_code\":0", "\"exit_code\":9");
        for bad in ["", "{}", &good[..good.len() / 2], "\u{0}", &future, &boot, &status] {
            assert_ne!(bad, good);
            fs::write(&path, bad).unwrap();
            assert_eq!(place.last(HOUR).unwrap(), None, "{bad}");
        }
        fs::write(&path, &good).unwrap();
        assert!(place.last(HOUR).unwrap().is_some());
    }

    #[test]
    fn nothing_is_taken_from_a_link_a_fifo_or_what_others_can_write_and_no_link_is_followed() {
        let directory = Directory::new("tricks");
        let place = directory.place("a");
        place.keep(Status::Ok, "fine").unwrap();
        let path = directory.0.join(&place.name);
        let elsewhere = directory.0.join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(place.last(HOUR).is_err());
        let before = fs::read(&elsewhere).unwrap();
        place.keep(Status::Critical, "full").unwrap();
        assert_eq!(fs::read(&elsewhere).unwrap(), before, "the link is replaced, not followed");
        assert!(place.last(HOUR).unwrap().is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(place.last(HOUR).is_err());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        assert!(place.last(HOUR).is_err());
        fs::set_permissions(&directory.0, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Place::within(&directory.0, "a".to_owned()).is_err());
        let link = directory.0.join("link");
        symlink(&directory.0, &link).unwrap();
        assert!(Place::within(&link, "a".to_owned()).is_err());
    }

    #[test]
    fn the_directory_is_the_services_then_roots_then_the_sessions() {
        let both = |name: &str| match name {
            "RUNTIME_DIRECTORY" => Some(OsString::from("/run/a:/run/b")),
            _ => Some(OsString::from("/run/user/1000")),
        };
        let session = |name: &str| both(name).filter(|_| name == "XDG_RUNTIME_DIR");
        assert_eq!(path(both, true).unwrap(), (PathBuf::from("/run/a"), true));
        assert_eq!(path(session, true).unwrap(), (PathBuf::from(RUN), false));
        let own = PathBuf::from("/run/user/1000/port-observer");
        assert_eq!(path(session, false).unwrap(), (own, false));
        assert!(path(|_| None, false).is_err());
        assert!(path(|_| Some(OsString::from("relative")), false).is_err());
    }
}
