//! The rights of this thread: its capabilities (capabilities(7)), put away for a while.

use caps::{
    CapSet, Capability,
    Capability::{CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH},
    CapsHashSet,
    errors::CapsError,
};
use nix::unistd::getuid;

/// Runs a closure with the rights of the user who started the program, for files that this user
/// names: capabilities that the program's file has (`setcap`) open nothing for whoever may run it.
/// Threads that the closure starts go on without them. Root's own rights stay.
pub fn as_caller<T>(f: impl FnOnce() -> T) -> T {
    if is_root() { f() } else { without_capabilities(f) }
}

/// The same, but only capabilities that overrule the permissions of files are without effect: for a
/// path that may lead into `/proc/PID`.
pub fn as_caller_of_files<T>(f: impl FnOnce() -> T) -> T {
    let is_about_files = |one: &Capability| matches!(one, CAP_DAC_OVERRIDE | CAP_DAC_READ_SEARCH);
    if is_root() { f() } else { without(is_about_files, f) }
}

/// Runs a closure with an empty effective set, on this thread and those that it starts.
pub fn without_capabilities<T>(f: impl FnOnce() -> T) -> T {
    without(|_| true, f)
}

/// Gives up all capabilities of this thread and those that it starts, for good.
///
/// # Errors
/// What the kernel refuses.
pub fn give_up_capabilities() -> Result<(), CapsError> {
    caps::clear(None, CapSet::Effective)?;
    caps::clear(None, CapSet::Permitted)
}

fn without<T>(is_left_out: impl Fn(&Capability) -> bool, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<CapsHashSet>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let Some(effective) = &self.0 else { return };
            if let Err(error) = caps::set(None, CapSet::Effective, effective) {
                log::warn!("can't take the capabilities back: {error}");
            }
        }
    }
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    let left: CapsHashSet = effective.iter().filter(|one| !is_left_out(one)).copied().collect();
    let is_reduced = left != effective && caps::set(None, CapSet::Effective, &left).is_ok();
    let _restore = Restore(is_reduced.then_some(effective));
    f()
}

/// The user who started the program is root of its user namespace.
pub fn is_root() -> bool {
    getuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_put_away_for_a_closure_and_its_threads_alone() {
        let effective = || caps::read(None, CapSet::Effective).unwrap();
        let before = effective();
        if is_root() {
            assert_eq!(as_caller(effective), before);
        }
        let read = move || effective().len();
        let inside = without_capabilities(|| (read(), std::thread::spawn(read).join().unwrap()));
        assert_eq!(inside, (0, 0));
        assert_eq!(effective(), before);
    }
}
