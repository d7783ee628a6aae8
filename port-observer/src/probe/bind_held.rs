//! Which connections have a port that connect() can't share, for bind() took it: an iterator over the TCP
//! sockets and TIME_WAIT entries of a network namespace (`iter/tcp`, net/ipv4/tcp_ipv4.c, from Linux 5.9
//! on), by itself, see [`super::assembly`]. Socket diagnostics do not show it: it is in the port's
//! bucket (`inet_bind_bucket.fastreuse`, `fastreuseport`), and from Linux 6.18 on in the socket.

use anyhow::{Result, bail};

use super::{
    assembly::{
        ADD_NUMBER, AND, AND_NUMBER, Assembled, CALL, Instruction, JUMP, JUMP_EQUAL, LOAD_1,
        LOAD_2, LOAD_8, MOVE, MOVE_NUMBER, READ_KERNEL, SEQ_WRITE, STACK, STORE_4, end_if,
        end_unless, finish, load, one, word,
    },
    privileges,
};
use crate::kernel::btf::{BucketFields, KernelTypes};

/// A socket cookie (8 bytes), a port, and whether connect() chose it (4 bytes each).
const RECORD_BYTES: usize = 16;
const TIME_WAIT: i32 = 6;
/// A connection request: it has no bucket.
const NEW_SYN_RECV: i32 = 12;
/// `SOCK_CONNECT_BIND` (include/net/sock.h).
const CONNECT_BIND: i32 = 16;

/// A connection or TIME_WAIT entry, or a listener, on a port that connect() passes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnHeldPort {
    /// Its socket cookie; 0 unless somebody has asked for it, as who lists it by diagnostics has.
    pub cookie: u64,
    /// The port.
    pub port: u16,
    /// connect() chose the port, which others have by bind(). Only kernels from 6.18 on tell.
    pub connect_bind: bool,
}

/// The iterator.
pub struct BindHeld(Assembled);

impl BindHeld {
    /// Loads it.
    ///
    /// # Errors
    /// When this process may not load programs, or the kernel has no such iterator.
    pub fn load() -> Result<Self> {
        // Before the kernel's types are read, which takes longer.
        if !privileges::may_load_iterators() {
            bail!("it takes CAP_BPF and CAP_PERFMON");
        }
        let fields = KernelTypes::read()?.bucket_fields()?;
        let code = program(&fields)?;
        Ok(Self(Assembled::load("bind_held", "TCP sockets", &code, fields.iterator)?))
    }

    /// Calls `each` with what is on such ports of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn for_each_here(&self, mut each: impl FnMut(OnHeldPort)) -> Result<()> {
        self.0.for_each::<RECORD_BYTES>(|record| {
            let cookie = record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
            // 16 bits of 32.
            let port = u16::try_from(word(record, 8)).unwrap_or(0);
            each(OnHeldPort { cookie, port, connect_bind: word(record, 12) != 0 });
        })
    }
}

/// Where on the stack what was read lies, and the record.
const READ: i32 = -8;
const RECORD: i32 = -24;

/// The program. Its context is `struct bpf_iter__tcp`: meta at 0, sk_common at 8.
fn program(fields: &BucketFields) -> Result<Vec<Instruction>> {
    /// Register 8 has the state: reads so many bytes at one offset of a socket (7), at another of a
    /// TIME_WAIT entry, which ends where the typed pointer says that a sock_common does.
    fn read_either(of_socket: u32, of_entry: u32, bytes: i32, to: i32) -> Vec<Instruction> {
        let mut code = vec![
            one(MOVE, 3, 7, 0, 0),
            one(JUMP_EQUAL, 8, 0, 2, TIME_WAIT),
            one(ADD_NUMBER, 3, 0, 0, of_socket.cast_signed()),
            one(JUMP, 0, 0, 1, 0),
            one(ADD_NUMBER, 3, 0, 0, of_entry.cast_signed()),
        ];
        code.extend(read(bytes, to));
        code
    }
    /// Reads so many bytes from where register 3 points.
    fn read(bytes: i32, to: i32) -> [Instruction; 5] {
        [
            one(MOVE, 1, STACK, 0, 0),
            one(ADD_NUMBER, 1, 0, 0, to),
            one(MOVE_NUMBER, 2, 0, 0, bytes),
            one(CALL, 0, 0, 0, READ_KERNEL),
            end_unless(0, 0),
        ]
    }
    let from_bucket =
        |offset: u32| [one(MOVE, 3, 9, 0, 0), one(ADD_NUMBER, 3, 0, 0, offset.cast_signed())];
    let mut code = vec![
        load(LOAD_8, 6, 1, 0)?,
        load(LOAD_8, 7, 1, 8)?,
        end_if(7, 0),
        load(LOAD_8, 6, 6, 0)?,
        load(LOAD_1, 8, 7, fields.skc_state)?,
        end_if(8, NEW_SYN_RECV),
    ];
    code.extend(read_either(fields.icsk_bind_hash, fields.tw_tb, 8, READ));
    code.extend([one(LOAD_8, 9, STACK, -8, 0), end_if(9, 0)]);
    // Both are signed bytes; connect() passes the port over if one is not negative.
    code.extend(from_bucket(fields.fastreuse));
    code.extend(read(1, READ));
    code.extend(from_bucket(fields.fastreuseport));
    code.extend(read(1, READ + 1));
    code.extend([
        one(LOAD_1, 1, STACK, -8, 0),
        one(LOAD_1, 2, STACK, -7, 0),
        one(AND, 1, 2, 0, 0),
        one(AND_NUMBER, 1, 0, 0, 0x80),
        end_unless(1, 0),
        one(MOVE_NUMBER, 9, 0, 0, 0),
    ]);
    if let Some(connect_bind) = fields.connect_bind {
        code.extend(read_either(fields.sk_userlocks, connect_bind / 8, 1, READ));
        code.extend([
            one(LOAD_1, 9, STACK, -8, 0),
            one(JUMP_EQUAL, 8, 0, 2, TIME_WAIT),
            one(AND_NUMBER, 9, 0, 0, CONNECT_BIND),
            one(JUMP, 0, 0, 1, 0),
            one(AND_NUMBER, 9, 0, 0, 1 << (connect_bind % 8)),
        ]);
    }
    code.extend([one(MOVE, 3, 7, 0, 0), one(ADD_NUMBER, 3, 0, 0, fields.skc_cookie.cast_signed())]);
    code.extend(read(8, RECORD));
    code.extend([
        load(LOAD_2, 1, 7, fields.skc_num)?,
        one(STORE_4, STACK, 1, -16, 0),
        one(STORE_4, STACK, 9, -12, 0),
        one(MOVE, 1, 6, 0, 0),
        one(MOVE, 2, STACK, 0, 0),
        one(ADD_NUMBER, 2, 0, 0, RECORD),
        one(MOVE_NUMBER, 3, 0, 0, 16),
        one(CALL, 0, 0, 0, SEQ_WRITE),
    ]);
    finish(code)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_listeners_port_is_found_and_not_one_that_connect_chose() {
        let iterator = match BindHeld::load() {
            Ok(iterator) => iterator,
            Err(error) => {
                println!("skipped: {error:#}");
                return;
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let client = TcpStream::connect(server).unwrap();
        let mut found = Vec::new();
        iterator.for_each_here(|one| found.push(one)).unwrap();
        let on = |address: SocketAddr| {
            found.iter().filter(|one| one.port == address.port()).collect::<Vec<_>>()
        };
        // The listener, and what waits to be accepted.
        assert_eq!(on(server).len(), 2, "{found:?}");
        assert!(on(server).iter().all(|one| !one.connect_bind), "{found:?}");
        assert!(on(client.local_addr().unwrap()).is_empty(), "{found:?}");
    }
}
