//! What packet filter rules there are in the network namespace of the calling thread, as the kernel sends
//! them (`include/uapi/linux/netfilter/nf_tables.h`). Nothing is decoded here; what is read is bounded.

use std::{
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            setsockopt, socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use super::symbols;

/// More than the kernel sends at once (32 KiB, `netlink_dump`).
const BUFFER_BYTES: usize = 64 * 1024;
const TIMEOUT_SECONDS: i64 = 10;
/// What is kept of all answers of one reader.
const MOST_BYTES: usize = 16 << 20;
/// How often a list is asked for that changes while it is read.
const TRIES: usize = 4;

/// `NFNL_SUBSYS_NFTABLES`
const SUBSYSTEM: u16 = 10 << 8;
/// `NFT_MSG_GETSETELEM`
const GET_ELEMENTS: u16 = 13;
/// `NFTA_SET_ELEM_LIST_TABLE`, `NFTA_SET_ELEM_LIST_SET`
const OF_TABLE: u16 = 1;
const OF_SET: u16 = 2;
const HEADER_BYTES: usize = 16;
/// `struct nfgenmsg`
const FAMILY_BYTES: usize = 4;

/// What can be listed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Tables: `NFT_MSG_GETTABLE`.
    Tables = 1,
    /// Chains: `NFT_MSG_GETCHAIN`.
    Chains = 4,
    /// Rules, those of a chain in order: `NFT_MSG_GETRULE`.
    Rules = 7,
    /// Sets, without their elements: `NFT_MSG_GETSET`.
    Sets = 10,
}

/// An object, or some elements of a set: its family (`NFPROTO_…`), and its attributes.
pub type Message = (u8, Vec<u8>);

/// A socket to ask with.
pub struct Reader {
    netlink: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    left: usize,
}

/// Whether the kernel has nf_tables at work. To ask one that has not would load the module.
pub fn is_there() -> bool {
    // A kernel that has it built in shows no module.
    let is_hidden = fs::File::open("/proc/kallsyms").is_err();
    is_hidden || Path::new("/sys/module/nf_tables").exists() || symbols::has("nft_do_chain")
}

/// The tables of iptables-legacy (ip_tables, ip6_tables) that the calling thread's namespace has.
///
/// # Errors
/// When their names can't be read: that takes root.
pub fn legacy_tables() -> std::io::Result<Vec<String>> {
    let mut all = Vec::new();
    for file in ["ip_tables_names", "ip6_tables_names"] {
        match fs::read_to_string(Path::new("/proc/thread-self/net").join(file)) {
            Ok(text) => all.extend(text.lines().take(16).map(str::to_owned)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

impl Reader {
    /// Opens the socket, in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no netfilter.
    pub fn open() -> Result<Self> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .context("can't open a netlink socket for netfilter")?;
        setsockopt(&netlink, ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))
            .context("can't set a timeout on a netlink socket")?;
        Ok(Self { netlink, sequence: 0, buffer: vec![0; BUFFER_BYTES], left: MOST_BYTES })
    }

    /// Lists objects of all families.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace, when there is more than is read, or when rules change all
    /// the time.
    pub fn list(&mut self, list: List) -> Result<Vec<Message>> {
        self.ask(list as u16, 0, &[])
    }

    /// Lists the elements of a set.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn elements(&mut self, family: u8, table: &str, set: &str) -> Result<Vec<Message>> {
        self.ask(GET_ELEMENTS, family, &[(OF_TABLE, table), (OF_SET, set)])
    }

    fn ask(&mut self, kind: u16, family: u8, names: &[(u16, &str)]) -> Result<Vec<Message>> {
        for _ in 0..TRIES {
            if let Some(found) = self.try_ask(kind, family, names)? {
                return Ok(found);
            }
        }
        bail!("the rules change while they are read")
    }

    /// `None`: it changed meanwhile.
    fn try_ask(
        &mut self,
        kind: u16,
        family: u8,
        names: &[(u16, &str)],
    ) -> Result<Option<Vec<Message>>> {
        self.sequence += 1;
        let request = request(kind, family, self.sequence, names);
        sendto(self.netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .context("can't ask for the rules of nftables")?;
        let mut found = Vec::new();
        let mut is_interrupted = false;
        loop {
            let received =
                match recv(self.netlink.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                    Ok(received) => received,
                    Err(Errno::EINTR) => continue,
                    Err(error) => return Err(error).context("no answer about nftables"),
                };
            let Some(mut rest) = self.buffer.get(..received).filter(|bytes| !bytes.is_empty())
            else {
                bail!("an answer about nftables is empty or longer than {BUFFER_BYTES} bytes");
            };
            while let Some((header, payload, after)) = next(rest) {
                rest = after;
                if header.sequence != self.sequence {
                    continue;
                }
                is_interrupted |= i32::from(header.flags) & libc::NLM_F_DUMP_INTR != 0;
                match i32::from(header.kind) {
                    libc::NLMSG_DONE => return Ok((!is_interrupted).then_some(found)),
                    libc::NLMSG_ERROR => {
                        let number = payload.first_chunk().map_or(0, |it| i32::from_ne_bytes(*it));
                        match Errno::from_raw(number.saturating_neg()) {
                            // Asked for once more.
                            Errno::EINTR | Errno::EAGAIN => return Ok(None),
                            error @ Errno::EPERM => {
                                return Err(error).context(
                                    "listing the rules of nftables takes CAP_NET_ADMIN in their network namespace",
                                );
                            }
                            error => return Err(error).context("nftables can't be listed"),
                        }
                    }
                    _ => {}
                }
                if header.kind & 0xff00 != SUBSYSTEM {
                    continue;
                }
                let Some((head, attributes)) = payload.split_at_checked(FAMILY_BYTES) else {
                    continue;
                };
                let left = self.left.checked_sub(attributes.len());
                self.left = left.with_context(|| {
                    format!("nftables has more than {} MiB of rules", MOST_BYTES >> 20)
                })?;
                found.push((head[0], attributes.to_vec()));
            }
        }
    }
}

/// The fields of `struct nlmsghdr` that matter.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// The next message of a datagram, and what comes after it.
fn next(bytes: &[u8]) -> Option<(Header, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first_chunk()?;
    let header = Header {
        kind: u16::from_ne_bytes(*kind),
        flags: u16::from_ne_bytes(*flags),
        sequence: u32::from_ne_bytes(*rest.first_chunk()?),
    };
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let payload = bytes.get(HEADER_BYTES..length)?;
    // NLMSG_ALIGN; the last needs no padding.
    Some((header, payload, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

fn request(kind: u16, family: u8, sequence: u32, names: &[(u16, &str)]) -> Vec<u8> {
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = vec![0; 4];
    bytes.extend((SUBSYSTEM | kind).to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0, 0, 0]);
    for (attribute, name) in names {
        let length = name.len() + 5;
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(attribute.to_ne_bytes());
        bytes.extend(name.as_bytes());
        bytes.resize(bytes.len() + 1 + length.next_multiple_of(4) - length, 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{rights::without_capabilities, testing::in_fresh_namespace};

    #[test]
    fn messages_are_taken_off_a_datagram_and_no_bytes_are_too_few() {
        let one = request(7, 2, 5, &[(1, "filter"), (2, "a")]);
        assert_eq!(one.len() % 4, 0);
        let both = [one.clone(), one.clone()].concat();
        let (header, payload, rest) = next(&both).unwrap();
        assert_eq!((header.kind, header.sequence, payload.len()), (10 << 8 | 7, 5, one.len() - 16));
        assert_eq!(rest, one);
        for length in 0..one.len() {
            assert!(next(&one[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn a_fresh_namespace_has_no_rules_and_they_take_a_privilege() {
        in_fresh_namespace(|| {
            let is_fresh = crate::kernel::netns::own_inode().ok()
                != std::fs::read_link("/proc/self/ns/net").ok().and_then(|link| {
                    let text = link.to_string_lossy().into_owned();
                    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
                });
            if !is_fresh || !is_there() {
                println!("skipped: no privilege to make a network namespace, or no nf_tables");
                return;
            }
            let mut reader = Reader::open().unwrap();
            for list in [List::Tables, List::Chains, List::Rules, List::Sets] {
                match reader.list(list) {
                    Ok(found) => assert_eq!(found, []),
                    Err(error) => println!("skipped: {error:#}"),
                }
            }
            let refused = without_capabilities(|| Reader::open().unwrap().list(List::Tables));
            assert!(format!("{:#}", refused.unwrap_err()).contains("CAP_NET_ADMIN"));
        });
    }
}
