//! Which signals are passed on to the command.

use nix::{
    sys::{signal::Signal, signalfd::siginfo},
    unistd::{Pid, getpgid, getpgrp},
};

/// Those that are read and passed on, where they have not reached the command already. Those that
/// background processes get for using the terminal are the process group's and stay as they are.
pub(super) const PASSED_ON: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// The kernel: keys of the terminal, its size, its end. Its whole process group gets it.
    Kernel,
    /// A process.
    Process(u32),
}

/// The signal, if it is to be passed on to this process.
pub(super) fn to_pass_on(info: &siginfo, to: Pid) -> Option<Signal> {
    let number = i32::try_from(info.ssi_signo).ok()?;
    let signal = Signal::try_from(number).ok().filter(|signal| PASSED_ON.contains(signal))?;
    // SI_USER, SI_QUEUE and SI_TKILL are not positive (include/uapi/asm-generic/siginfo.h).
    let sender = if info.ssi_code > 0 { Sender::Kernel } else { Sender::Process(info.ssi_pid) };
    let is_in_our_group = getpgid(Some(to)).is_ok_and(|group| group == getpgrp());
    is_to_pass_on(sender, to.as_raw().cast_unsigned(), is_in_our_group).then_some(signal)
}

/// Ctrl-C reaches both by itself while the command is in our process group, as it is unless it has left
/// it; a second SIGINT could end what handles the first. What the command sends itself, with
/// its group, it has.
fn is_to_pass_on(sender: Sender, command: u32, is_in_our_group: bool) -> bool {
    match sender {
        Sender::Kernel => !is_in_our_group,
        Sender::Process(pid) => pid != command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_has_by_itself_is_not_sent_again() {
        assert!(!is_to_pass_on(Sender::Kernel, 7, true));
        assert!(!is_to_pass_on(Sender::Process(7), 7, true));
        assert!(!is_to_pass_on(Sender::Process(7), 7, false));
    }

    #[test]
    fn what_was_sent_to_the_observer_is_for_the_command() {
        // 0: from outside of this pid namespace.
        for pid in [0, 1, 8] {
            assert!(is_to_pass_on(Sender::Process(pid), 7, true));
            assert!(is_to_pass_on(Sender::Process(pid), 7, false));
        }
        assert!(is_to_pass_on(Sender::Kernel, 7, false));
    }
}
