//! Iterators that are put together here: a few dozen instructions with the running kernel's offsets, for
//! commands that look once. Loading the whole object with its maps would take longer than the look.
//!
//! Such a program has no map, and goes with its descriptors: nothing stays in the kernel.

use std::{
    ffi::c_long,
    fs::File,
    io::{self, ErrorKind, Read as _},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};

use super::privileges;

/// The kernel hands out at most 8 pages at once (bpf_seq_read, kernel/bpf/bpf_iter.c).
const READ_BYTES: usize = 64 * 1024;

/// An instruction (`struct bpf_insn`, include/uapi/linux/bpf.h).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper; the other way round on a big-endian
    /// processor.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// `BPF_LDX | BPF_MEM`, by size.
pub const LOAD_1: u8 = 0x71;
pub const LOAD_2: u8 = 0x69;
pub const LOAD_4: u8 = 0x61;
pub const LOAD_8: u8 = 0x79;
/// `BPF_STX | BPF_MEM | BPF_W`
pub const STORE_4: u8 = 0x63;
/// `BPF_ALU64`: move, add, and, with a register or a number.
pub const MOVE: u8 = 0xbf;
pub const MOVE_NUMBER: u8 = 0xb7;
pub const ADD_NUMBER: u8 = 0x07;
pub const AND: u8 = 0x5f;
pub const AND_NUMBER: u8 = 0x57;
/// `BPF_JMP`: always; if equal, if not equal to a number; call; exit.
pub const JUMP: u8 = 0x05;
pub const JUMP_EQUAL: u8 = 0x15;
pub const JUMP_NOT_EQUAL: u8 = 0x55;
pub const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// The register that points behind the program's stack.
pub const STACK: u8 = 10;
/// `BPF_FUNC_probe_read_kernel`
pub const READ_KERNEL: i32 = 113;
/// `BPF_FUNC_seq_write`
pub const SEQ_WRITE: i32 = 127;

/// An instruction: its code, the registers it writes and reads, an offset and a number.
pub fn one(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    let registers = if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to };
    Instruction { code, registers, offset, immediate }
}

/// A load of a field that may be read through a typed pointer.
///
/// # Errors
/// When the field is too far away for an instruction.
pub fn load(code: u8, to: u8, from: u8, offset: u32) -> Result<Instruction> {
    Ok(one(code, to, from, i16::try_from(offset).context("a field is too far away")?, 0))
}

/// Ends the program without a record where the register is this number.
pub fn end_if(register: u8, number: i32) -> Instruction {
    one(JUMP_EQUAL, register, 0, TO_THE_END, number)
}

/// Ends the program without a record unless the register is this number.
pub fn end_unless(register: u8, number: i32) -> Instruction {
    one(JUMP_NOT_EQUAL, register, 0, TO_THE_END, number)
}

/// Stands for an offset that is filled in once the program's length is known.
const TO_THE_END: i16 = 0;

/// Lets the program end: its jumps to the end lead there.
///
/// # Errors
/// When it is too long for a jump.
pub fn finish(mut code: Vec<Instruction>) -> Result<Vec<Instruction>> {
    let end = code.len();
    code.extend([one(MOVE_NUMBER, 0, 0, 0, 0), one(EXIT, 0, 0, 0, 0)]);
    for (at, instruction) in code.iter_mut().enumerate() {
        let is_conditional = matches!(instruction.code, JUMP_EQUAL | JUMP_NOT_EQUAL);
        if is_conditional && instruction.offset == TO_THE_END {
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

/// An iterator that is loaded, and can be opened any number of times.
pub struct Assembled {
    /// What it goes over, for messages.
    over: &'static str,
    link: OwnedFd,
}

impl Assembled {
    /// Loads a program of at most 15 letters' name for the kernel's iterator of this number in BTF.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load(
        name: &str,
        over: &'static str,
        code: &[Instruction],
        iterator: u32,
    ) -> Result<Self> {
        privileges::raise_memlock();
        let mut named = [0; 16];
        for (to, from) in named.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        let attributes = ProgramAttributes {
            kind: TRACING,
            instruction_count: u32::try_from(code.len()).context("the program's length")?,
            instructions: code.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            name: named,
            attach_type: ITERATOR,
            attach_btf_id: iterator,
            ..ProgramAttributes::default()
        };
        // SAFETY: the instructions and the license live through the call.
        let program = unsafe { bpf(5, &attributes) }
            .with_context(|| format!("the kernel refuses an iterator over {over}"))?;
        let attributes = LinkAttributes {
            program: program.as_raw_fd(),
            target: 0,
            attach_type: ITERATOR,
            flags: 0,
        };
        // SAFETY: it has no pointers.
        let link = unsafe { bpf(28, &attributes) }
            .with_context(|| format!("can't attach the iterator over {over}"))?;
        Ok(Self { over, link })
    }

    /// Goes over all, of the calling thread's network namespace where it is about one, and calls `each`
    /// with every record of so many bytes.
    ///
    /// # Errors
    /// When the kernel refuses it, or ends within a record.
    pub fn for_each<const BYTES: usize>(&self, mut each: impl FnMut(&[u8; BYTES])) -> Result<()> {
        let over = self.over;
        let attributes = IteratorAttributes { link: self.link.as_raw_fd(), flags: 0 };
        // SAFETY: it has no pointers.
        let opened = unsafe { bpf(33, &attributes) }
            .with_context(|| format!("can't open the iterator over {over}"))?;
        let mut records = File::from(opened);
        let mut bytes = vec![0; READ_BYTES];
        let mut kept = 0;
        loop {
            match records.read(&mut bytes[kept..]) {
                Ok(0) => break,
                Ok(length) => {
                    let (whole, rest) = bytes[..kept + length].as_chunks::<BYTES>();
                    whole.iter().for_each(&mut each);
                    let (begin, left) = (kept + length - rest.len(), rest.len());
                    bytes.copy_within(begin..begin + left, 0);
                    kept = left;
                }
                // It has gone over very many of which it writes nothing, or was interrupted.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("can't read the iterator over {over}"));
                }
            }
        }
        if kept > 0 {
            bail!("the iterator over {over} ended within a record");
        }
        Ok(())
    }
}

/// A number of a record.
pub fn word(record: &[u8], at: usize) -> u32 {
    let bytes = record.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |word| u32::from_ne_bytes(*word))
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
