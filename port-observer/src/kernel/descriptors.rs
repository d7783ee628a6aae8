//! How many files this process may have open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many files open as it may: there are some per program and per network
/// namespace.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        log::debug!("no more than {soft} files can be open: {error}");
    }
}

/// What an error that comes of too many open files is about: this process's limit, or the host's.
pub fn exhausted(error: &anyhow::Error) -> Option<String> {
    let numbers = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    numbers.filter_map(io::Error::raw_os_error).find_map(exhausted_by)
}

/// The same by its number.
pub fn exhausted_by(errno: i32) -> Option<String> {
    match errno {
        libc::EMFILE => {
            let limit = getrlimit(Resource::RLIMIT_NOFILE)
                .map_or(String::new(), |(soft, _)| format!(" (RLIMIT_NOFILE is {soft})"));
            Some(format!("this process has no file descriptors left{limit}"))
        }
        libc::ENFILE => Some("the host has no file descriptors left (fs.file-max)".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_open_files_are_found_behind_what_was_tried() {
        let error = |number| {
            anyhow::Error::from(io::Error::from_raw_os_error(number)).context("can't open it")
        };
        let found = exhausted(&error(libc::EMFILE)).unwrap();
        assert!(found.contains("no file descriptors left (RLIMIT_NOFILE is "), "{found}");
        assert!(exhausted(&error(libc::ENFILE)).unwrap().contains("the host"));
        assert_eq!(exhausted(&error(libc::ENOENT)), None);
    }
}
