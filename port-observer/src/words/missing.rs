//! What the kernel's lists could not show.

/// Of sockets, if there are any that the list lacks. `fallback`: why `/proc/net` was read.
/// `lists_bound`: this kernel's diagnostics list TCP sockets that are only bound.
pub fn sockets(has_tcp: bool, fallback: Option<&str>, lists_bound: bool) -> Option<String> {
    let unseen = if has_tcp { "TCP sockets that are only bound: " } else { "" };
    match fallback {
        Some(reason) => {
            Some(format!("{unseen}/proc/net stands in for socket diagnostics ({reason})"))
        }
        None if has_tcp && !lists_bound => Some(format!("{unseen}this kernel lists none")),
        None => None,
    }
}

/// Of connections, where it can't be known which ports bind() took. `reason`: why.
pub fn binds(reason: &str) -> String {
    format!("which ports of connections bind() took, so that connect() can't share them: {reason}")
}

/// Of processes, whose files could not be read.
pub fn processes(hidden: usize) -> String {
    format!(
        "the processes of some sockets: the open files of {hidden} processes may not be read, which \
         takes root"
    )
}
