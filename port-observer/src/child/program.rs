//! What is executed, and as whom.

use std::{
    ffi::{CString, OsString},
    fmt,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::Command,
};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, User, getgid, getuid, initgroups, setresgid, setresuid},
};

use super::{READY, end, inherited};

/// What the child says when it can't become the user.
const FAILED: u8 = READY + 1;

/// A command, and as whom it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    name: OsString,
    arguments: Vec<OsString>,
    user: Option<User>,
}

impl Program {
    /// `user`: as whom, with that user's groups and HOME, USER, LOGNAME and SHELL; none: as the caller.
    pub fn new(name: OsString, arguments: Vec<OsString>, user: Option<User>) -> Self {
        Self { name, arguments, user }
    }

    /// Becomes the user, waits for a byte in `gate`, executes. What goes wrong is said in `report`.
    pub(super) fn wait_and_execute(&self, gate: File, mut report: File) -> ! {
        let code = self.run(gate, &mut report);
        // SAFETY: ends the child, without what the parent does at its own end.
        unsafe { libc::_exit(code.into()) }
    }

    /// Returns only if the command is not executed: the exit code.
    fn run(&self, mut gate: File, report: &mut File) -> u8 {
        let errno = |error: &io::Error| error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
        inherited::restore();
        if let Err(error) = self.become_user() {
            let said = [&[FAILED][..], &errno(&error.into())].concat();
            // A parent that is gone needs no reason.
            let _ = report.write_all(&said);
            return 1;
        }
        if report.write_all(&[READY]).is_err() || gate.read_exact(&mut [0]).is_err() {
            return 1;
        }
        drop(gate);
        let error = self.execute();
        let _ = report.write_all(&errno(&error));
        end::exit_code(&error)
    }

    fn become_user(&self) -> nix::Result<()> {
        let Some(user) = self.user.as_ref().filter(|user| user.uid != getuid()) else {
            // Whatever the program's file has set: the caller's own.
            return become_ids(getuid(), getgid());
        };
        // A capability of the program's file is not the caller's.
        if !getuid().is_root() {
            return Err(Errno::EPERM);
        }
        let name = CString::new(user.name.as_bytes()).map_err(|_| Errno::EINVAL)?;
        initgroups(&name, user.gid)?;
        become_ids(user.uid, user.gid)
    }

    fn execute(&self) -> io::Error {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments);
        if let Some(user) = &self.user {
            command.env("HOME", &user.dir).env("SHELL", &user.shell);
            command.env("USER", &user.name).env("LOGNAME", &user.name);
        }
        // SAFETY: this process has one thread, and no locks are taken.
        unsafe {
            // The standard library has given SIGPIPE its default by then.
            command.pre_exec(|| {
                inherited::restore();
                Ok(())
            });
        }
        command.exec()
    }

    /// Why the user can't be become.
    pub(super) fn cant_become(&self) -> String {
        let user = self.user.as_ref().map_or("the caller", |user| &user.name);
        let help = if self.user.is_some() && !getuid().is_root() {
            "; only root runs a command as another user"
        } else {
            ""
        };
        format!("can't run {self} as {user}{help}")
    }
}

/// The command's name, as typed.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.display().fmt(f)
    }
}

/// Real, effective and saved, all three.
fn become_ids(user: Uid, group: Gid) -> nix::Result<()> {
    setresgid(group, group, group)?;
    setresuid(user, user, user)
}
