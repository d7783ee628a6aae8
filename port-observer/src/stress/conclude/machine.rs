//! Limits that are shared: of a control group, a user, the host.

use super::{Evidence, Seen, nearly};

impl Seen<'_> {
    /// Open files of the host, of which those with `CAP_SYS_ADMIN` may have more.
    pub(super) fn files(&self) -> Option<String> {
        let (files, most) = self.evidence.files;
        let ends = [&self.evidence.client, &self.evidence.server];
        (ends.iter().any(|end| end.meets_file_max) && nearly(files, most))
            .then(|| format!("the host has {files} of {most} files open (fs.file-max)"))
    }

    /// Memory of TCP (`tcp_mem`).
    pub(super) fn tcp_memory(&self) -> Option<String> {
        let Evidence { tcp_memory_pages: pages, tcp_memory_max: most, tcp_memory_failures, .. } =
            *self.evidence;
        let is_met = nearly(pages, most) || (tcp_memory_failures > 0 && pages * 10 >= most * 8);
        // Who is short of it already is not told again.
        let felt = match tcp_memory_failures {
            0 => String::new(),
            times => format!(", and was short of it {times} times"),
        };
        is_met.then(|| {
            format!("TCP of the host has {pages} of {most} pages of memory{felt} (tcp_mem)")
        })
    }

    /// Processes of control groups (`pids.max`).
    pub(super) fn processes_of_groups(&self) -> Option<String> {
        let groups = [&self.evidence.server.group, &self.evidence.client.group];
        let group = groups.into_iter().find(|group| group.pids_refused > 0)?;
        let refused = group.pids_refused;
        let now =
            group.pids.map_or_else(String::new, |(now, most)| format!(": it has {now} of {most}"));
        Some(format!("a control group refused {refused} processes or threads{now} (pids.max)"))
    }

    /// Memory of control groups (`memory.max`). That one is at it says nothing: caches give way.
    pub(super) fn memory_of_groups(&self) -> Option<String> {
        let groups = [&self.evidence.server.group, &self.evidence.client.group];
        let failed = [libc::ENOMEM, libc::ENOBUFS, libc::ENFILE];
        let failed = failed.iter().any(|errno| self.progress.refused.contains_key(errno));
        groups.into_iter().find_map(|group| match (group.memory_refused, group.memory_full) {
            (0, full) if failed && full > 0 => Some(format!(
                "a control group was {full} times at memory.max while calls failed for want of memory"
            )),
            (0, _) => None,
            (refused, _) => Some(format!(
                "a control group had no memory left {refused} times (memory.max; memory.events: oom)"
            )),
        })
    }

    /// Threads of a user and of the host.
    pub(super) fn threads(&self) -> Option<String> {
        let (server, client) = (&self.evidence.server, &self.evidence.client);
        let of_user = [(server, "the server"), (client, "who connects")].into_iter().find_map(
            |(end, who)| {
                let (now, most) = end.user_threads.filter(|&(now, most)| nearly(now, most))?;
                Some(format!("the user of {who} has {now} of {most} threads (RLIMIT_NPROC)"))
            },
        );
        let (now, most) = self.evidence.threads;
        of_user.or_else(|| {
            nearly(now, most).then(|| {
                format!("the host has {now} of {most} threads (kernel.threads-max, kernel.pid_max)")
            })
        })
    }
}
