//! Who has which socket open: an iterator over the open files of all processes (`iter/task_file`,
//! kernel/bpf/task_iter.c, from Linux 5.8 on), by itself. It is for commands that look once: loading
//! the whole object with its maps would take longer than the walk over /proc that this spares.
//!
//! So the program is put together here, two dozen instructions with the running kernel's offsets.
//! It has no map, and goes with its descriptors: nothing stays in the kernel.

use std::{
    ffi::c_long,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
};

use anyhow::{Context as _, Result, bail};

use super::privileges;
use crate::kernel::btf::{FileFields, KernelTypes};

/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the first pid namespace.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// The kernel hands out at most 8 pages at once (bpf_seq_read, kernel/bpf/bpf_iter.c).
const READ_BYTES: usize = 64 * 1024;
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
    let program = load(&fields)?;
    let link = link(&program)?;
    let mut records = File::from(iterator(&link)?);
    let mut bytes = vec![0; READ_BYTES];
    let mut kept = 0;
    loop {
        match records.read(&mut bytes[kept..]) {
            Ok(0) => break,
            Ok(length) => {
                let whole = (kept + length) / RECORD_BYTES * RECORD_BYTES;
                for record in bytes[..whole].chunks_exact(RECORD_BYTES) {
                    let word = |at: usize| {
                        record[at..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word))
                    };
                    each(word(0), word(4));
                }
                bytes.copy_within(whole..kept + length, 0);
                kept = kept + length - whole;
            }
            // It has gone over very many that are no sockets, or was interrupted.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("can't read the iterator over open files"),
        }
    }
    if kept > 0 {
        bail!("the iterator over open files ended within a record");
    }
    Ok(())
}

/// An instruction (`struct bpf_insn`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper; the other way round on a big-endian
    /// processor.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `BPF_LDX | BPF_MEM`, by size.
const LOAD_4: u8 = 0x61;
const LOAD_2: u8 = 0x69;
const LOAD_8: u8 = 0x79;
/// `BPF_STX | BPF_MEM | BPF_W`
const STORE_4: u8 = 0x63;
/// `BPF_ALU64`: move, add, and, with a register or a number.
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const ADD_NUMBER: u8 = 0x07;
const AND_NUMBER: u8 = 0x57;
/// `BPF_JMP`: if equal, if not equal to a number; call; exit.
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_FUNC_seq_write`
const SEQ_WRITE: i32 = 127;
/// `SOCKFS_MAGIC` (include/uapi/linux/magic.h): files elsewhere have inode numbers of their own.
const SOCKFS_MAGIC: i32 = 0x534F_434B;
/// `S_IFMT`, `S_IFSOCK`
const FILE_TYPE: i32 = 0o170_000;
const SOCKET: i32 = 0o140_000;

/// The program. Its context is `struct bpf_iter__task_file`: meta at 0, task at 8, file at 24.
fn program(fields: &FileFields) -> Result<Vec<Instruction>> {
    let one = |code, to: u8, from: u8, offset, immediate| {
        let registers = if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to };
        Instruction { code, registers, offset, immediate }
    };
    let load = |code, to, from, offset: u32| -> Result<Instruction> {
        let offset = i16::try_from(offset).context("a field is too far away")?;
        Ok(one(code, to, from, offset, 0))
    };
    // Where a jump leads is filled in below.
    let end_if_null = |register| one(JUMP_EQUAL, register, 0, 0, 0);
    let end_unless = |register, number| one(JUMP_NOT_EQUAL, register, 0, 0, number);
    let mut code = vec![
        load(LOAD_8, 6, 1, 0)?,
        load(LOAD_8, 7, 1, 8)?,
        load(LOAD_8, 8, 1, 24)?,
        end_if_null(7),
        end_if_null(8),
        load(LOAD_8, 8, 8, fields.file_inode)?,
        load(LOAD_2, 2, 8, fields.inode_mode)?,
        one(AND_NUMBER, 2, 0, 0, FILE_TYPE),
        end_unless(2, SOCKET),
        load(LOAD_8, 3, 8, fields.inode_super_block)?,
        load(LOAD_8, 3, 3, fields.super_block_magic)?,
        end_unless(3, SOCKFS_MAGIC),
        load(LOAD_8, 4, 8, fields.inode_number)?,
        load(LOAD_4, 5, 7, fields.task_tgid)?,
        one(STORE_4, 10, 4, -8, 0),
        one(STORE_4, 10, 5, -4, 0),
        load(LOAD_8, 1, 6, 0)?,
        one(MOVE, 2, 10, 0, 0),
        one(ADD_NUMBER, 2, 0, 0, -8),
        one(MOVE_NUMBER, 3, 0, 0, 8),
        one(CALL, 0, 0, 0, SEQ_WRITE),
    ];
    let end = code.len();
    code.extend([one(MOVE_NUMBER, 0, 0, 0, 0), one(EXIT, 0, 0, 0, 0)]);
    for (at, instruction) in code.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_EQUAL | JUMP_NOT_EQUAL) {
            instruction.offset = i16::try_from(end - at - 1).context("a jump is too far")?;
        }
    }
    Ok(code)
}

/// `BPF_PROG_TYPE_TRACING`
const TRACING: u32 = 26;
/// `BPF_TRACE_ITER`
const ITERATOR: u32 = 28;
/// bpf_seq_write is for programs under the GPL.
const LICENSE: &std::ffi::CStr = c"Dual MIT/GPL";

/// `union bpf_attr`, as far as `BPF_PROG_LOAD` is told something here.
#[derive(Default)]
#[repr(C)]
struct ProgramAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
    btf_fd: u32,
    function_record: u32,
    functions: u64,
    function_count: u32,
    line_record: u32,
    lines: u64,
    line_count: u32,
    attach_btf_id: u32,
}

/// The same for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttributes {
    program: i32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

/// The same for `BPF_ITER_CREATE`.
#[repr(C)]
struct IteratorAttributes {
    link: i32,
    flags: u32,
}

const _: () = assert!(size_of::<Instruction>() == 8 && size_of::<ProgramAttributes>() == 112);

fn load(fields: &FileFields) -> Result<OwnedFd> {
    privileges::raise_memlock();
    let code = program(fields)?;
    let mut name = [0; 16];
    name[..10].copy_from_slice(b"open_files");
    let attributes = ProgramAttributes {
        kind: TRACING,
        instruction_count: u32::try_from(code.len()).context("the program's length")?,
        instructions: code.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        name,
        attach_type: ITERATOR,
        attach_btf_id: fields.iterator,
        ..ProgramAttributes::default()
    };
    // SAFETY: the instructions and the license live through the call.
    let loaded = unsafe { bpf(5, &attributes) };
    loaded.context("the kernel refuses an iterator over open files")
}

fn link(program: &OwnedFd) -> Result<OwnedFd> {
    let program = program.as_raw_fd();
    let attributes = LinkAttributes { program, target: 0, attach_type: ITERATOR, flags: 0 };
    // SAFETY: it has no pointers.
    unsafe { bpf(28, &attributes) }.context("can't attach the iterator over open files")
}

fn iterator(link: &OwnedFd) -> Result<OwnedFd> {
    let attributes = IteratorAttributes { link: link.as_raw_fd(), flags: 0 };
    // SAFETY: it has no pointers.
    unsafe { bpf(33, &attributes) }.context("can't open the iterator over open files")
}

/// bpf(2), for commands that give a descriptor.
///
/// # Safety
/// `attributes` are those of the command, and their pointers are valid for it.
unsafe fn bpf<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads no more than the size that it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            c_long::from(command),
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match i32::try_from(result) {
        // SAFETY: the descriptor is new, and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
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
