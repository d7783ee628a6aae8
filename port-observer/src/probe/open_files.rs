//! Who has which socket open: an iterator over the open files of all processes (`iter/task_file`,
//! kernel/bpf/task_iter.c, from Linux 5.8 on), by itself, see [`super::assembly`]. It spares a walk over
//! /proc.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Context as _, Result, bail};

use super::{
    assembly::{
        ADD_NUMBER, AND_NUMBER, Assembled, CALL, Instruction, LOAD_2, LOAD_4, LOAD_8, MOVE,
        MOVE_NUMBER, SEQ_WRITE, STACK, STORE_4, end_if, end_unless, finish, load, one, word,
    },
    privileges,
};
use crate::kernel::btf::{FileFields, KernelTypes};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the first pid namespace.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Inode number and process id, 4 bytes each.
const RECORD_BYTES: usize = 8;

/// Calls `each` with the inode number of every open socket and the process that has it open, once
/// for each descriptor.
///
/// # Errors
/// When this process may not load programs, the kernel has no such iterator, or process ids are not
/// those of the first pid namespace, which the kernel would give.
pub fn for_each_socket(mut each: impl FnMut(u32, u32)) -> Result<()> {
    let namespace = fs::metadata("/proc/self/ns/pid").context("which pid namespace this is")?;
    if namespace.ino() != FIRST_PID_NAMESPACE {
        bail!(
            "the iterator gives the host's process ids, and /proc shows those of a pid namespace"
        );
    }
    // Before the kernel's types are read, which takes longer.
    if !privileges::may_load_iterators() {
        bail!("it takes CAP_BPF and CAP_PERFMON");
    }
    let fields = KernelTypes::read()?.file_fields()?;
    let iterator =
        Assembled::load("open_files", "open files", &program(&fields)?, fields.iterator)?;
    iterator.for_each::<RECORD_BYTES>(|record| each(word(record, 0), word(record, 4)))
}

/// `SOCKFS_MAGIC` (include/uapi/linux/magic.h): files elsewhere have inode numbers of their own.
const SOCKFS_MAGIC: i32 = 0x534F_434B;
/// `S_IFMT`, `S_IFSOCK`
const FILE_TYPE: i32 = 0o170_000;
const SOCKET: i32 = 0o140_000;

/// The program. Its context is `struct bpf_iter__task_file`: meta at 0, task at 8, file at 24.
fn program(fields: &FileFields) -> Result<Vec<Instruction>> {
    finish(vec![
        load(LOAD_8, 6, 1, 0)?,
        load(LOAD_8, 7, 1, 8)?,
        load(LOAD_8, 8, 1, 24)?,
        end_if(7, 0),
        end_if(8, 0),
        load(LOAD_8, 8, 8, fields.file_inode)?,
        load(LOAD_2, 2, 8, fields.inode_mode)?,
        one(AND_NUMBER, 2, 0, 0, FILE_TYPE),
        end_unless(2, SOCKET),
        load(LOAD_8, 3, 8, fields.inode_super_block)?,
        load(LOAD_8, 3, 3, fields.super_block_magic)?,
        end_unless(3, SOCKFS_MAGIC),
        load(LOAD_8, 4, 8, fields.inode_number)?,
        load(LOAD_4, 5, 7, fields.task_tgid)?,
        one(STORE_4, STACK, 4, -8, 0),
        one(STORE_4, STACK, 5, -4, 0),
        load(LOAD_8, 1, 6, 0)?,
        one(MOVE, 2, STACK, 0, 0),
        one(ADD_NUMBER, 2, 0, 0, -8),
        one(MOVE_NUMBER, 3, 0, 0, 8),
        one(CALL, 0, 0, 0, SEQ_WRITE),
    ])
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsRawFd as _};

    use super::*;

    #[test]
    fn the_own_socket_is_found_and_nothing_that_is_no_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let mut found = Vec::new();
        if let Err(error) = for_each_socket(|inode, pid| found.push((inode, pid))) {
            println!("skipped: {error:#}");
            return;
        }
        let own: Vec<u32> =
            found.iter().filter(|(_, pid)| *pid == std::process::id()).map(|one| one.0).collect();
        assert!(own.iter().any(|inode| link.to_str() == Some(&format!("socket:[{inode}]"))));
        let links: Vec<String> = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|one| fs::read_link(one.unwrap().path()).ok()?.to_str().map(str::to_owned))
            .collect();
        // Other tests open and close theirs meanwhile.
        let still = own.iter().filter(|inode| links.contains(&format!("socket:[{inode}]")));
        assert!(still.count() >= 1, "{own:?} {links:?}");
    }
}
