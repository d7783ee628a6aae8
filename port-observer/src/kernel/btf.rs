//! Field offsets of the running kernel, from its BTF.

use std::{cell::OnceCell, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use btf_rs::{Backend, Btf, Struct, Type};
use foldhash::HashMap;
use port_observer_ebpf::Offsets;

/// Where a kernel with BTF shows it.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where a probe finds a function's arguments and its return value, in `pt_regs`.
#[derive(Default)]
struct Registers {
    arguments: [u32; 3],
    result: u32,
}

/// What an iterator over open files is put together from: offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFields {
    /// The number of the function `bpf_iter_task_file` in the kernel's BTF.
    pub iterator: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `inode.i_ino`
    pub inode_number: u32,
    /// `inode.i_sb`
    pub inode_super_block: u32,
    /// `super_block.s_magic`
    pub super_block_magic: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
}

/// What an iterator over TCP sockets is put together from: offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketFields {
    /// The number of the function `bpf_iter_tcp` in the kernel's BTF.
    pub iterator: u32,
    /// `sock_common.skc_state`
    pub skc_state: u32,
    /// `sock_common.skc_num`
    pub skc_num: u32,
    /// `sock_common.skc_cookie`
    pub skc_cookie: u32,
    /// `sock.sk_userlocks`
    pub sk_userlocks: u32,
    /// `inet_connection_sock.icsk_bind_hash`
    pub icsk_bind_hash: u32,
    /// `inet_timewait_sock.tw_tb`
    pub tw_tb: u32,
    /// `inet_timewait_sock.tw_connect_bind`, in bits; `None`: this kernel has none.
    pub connect_bind: Option<u32>,
    /// `inet_bind_bucket.fastreuse`
    pub fastreuse: u32,
    /// `inet_bind_bucket.fastreuseport`
    pub fastreuseport: u32,
}

/// The running kernel's types.
pub struct KernelTypes {
    btf: Btf,
    /// The numbers of structures and functions by name, once many are asked for: each look without it
    /// goes through all types.
    index: OnceCell<HashMap<String, Vec<u32>>>,
}

impl KernelTypes {
    /// Reads the running kernel's BTF.
    ///
    /// # Errors
    /// When the kernel has none (`CONFIG_DEBUG_INFO_BTF`) or it can't be read.
    pub fn read() -> Result<Self> {
        let path = Path::new(VMLINUX);
        if !path.exists() {
            bail!("this kernel has no type information at {VMLINUX} (CONFIG_DEBUG_INFO_BTF)");
        }
        // Mapping is faster, but older kernels' sysfs can't be mapped.
        Btf::from_file_with_backend(path, Backend::Mmap)
            .or_else(|_| Btf::from_file(path))
            .map(|btf| Self { btf, index: OnceCell::new() })
            .with_context(|| format!("can't read {VMLINUX}"))
    }

    /// Whether the kernel has a function of this name that programs can be attached to.
    pub fn has_function(&self, name: &str) -> bool {
        self.index.get_or_init(|| self.make_index());
        self.types(name).any(|(_, found)| matches!(found, Type::Func(_)))
    }

    fn make_index(&self) -> HashMap<String, Vec<u32>> {
        let mut index: HashMap<String, Vec<u32>> = HashMap::default();
        let (_, last) = self.btf.base().type_id_range();
        for id in 1..=last {
            let name = match self.btf.resolve_type_by_id(id) {
                Ok(Type::Struct(found)) => self.btf.resolve_name(&found),
                Ok(Type::Func(found)) => self.btf.resolve_name(&found),
                _ => continue,
            };
            if let Ok(name) = name {
                index.entry(name).or_default().push(id);
            }
        }
        index
    }

    /// All types of a name, at least its structures and functions, with their numbers.
    fn types(&self, name: &str) -> impl Iterator<Item = (u32, Type)> {
        let ids = match self.index.get() {
            Some(index) => index.get(name).cloned(),
            None => self.btf.resolve_ids_by_name(name).ok(),
        };
        let ids = ids.unwrap_or_default().into_iter();
        ids.filter_map(|id| Some((id, self.btf.resolve_type_by_id(id).ok()?)))
    }

    /// All that the kernel programs need, for this processor's registers.
    ///
    /// # Errors
    /// Names the field that this kernel does not have.
    pub fn offsets(&self) -> Result<Offsets> {
        self.index.get_or_init(|| self.make_index());
        let byte = |structure, path| self.byte_offset(structure, path);
        let userlocks = self.find("sock", "sk_userlocks")?;
        let ipv6_only = self.find("sock_common", "skc_ipv6only")?;
        let connect_bind = self.connect_bind();
        let port_range = self.port_range();
        let registers = self.registers()?;
        Ok(Offsets {
            skc_daddr: byte("sock_common", "skc_daddr")?,
            skc_rcv_saddr: byte("sock_common", "skc_rcv_saddr")?,
            skc_dport: byte("sock_common", "skc_dport")?,
            skc_num: byte("sock_common", "skc_num")?,
            skc_family: byte("sock_common", "skc_family")?,
            skc_state: byte("sock_common", "skc_state")?,
            skc_ipv6only: ipv6_only / 8,
            skc_ipv6only_shift: ipv6_only % 8,
            skc_bound_dev_if: byte("sock_common", "skc_bound_dev_if")?,
            skc_flags: byte("sock_common", "skc_flags")?,
            skc_net: byte("sock_common", "skc_net")?,
            skc_v6_daddr: byte("sock_common", "skc_v6_daddr")?,
            skc_v6_rcv_saddr: byte("sock_common", "skc_v6_rcv_saddr")?,
            sk_protocol: byte("sock", "sk_protocol")?,
            sk_dst_cache: byte("sock", "sk_dst_cache")?,
            skb_cb: byte("sk_buff", "cb")?,
            sk_err: byte("sock", "sk_err")?,
            sk_userlocks: userlocks / 8,
            sk_userlocks_shift: userlocks % 8,
            has_connect_bind: u32::from(connect_bind.is_some()),
            sk_socket: byte("sock", "sk_socket")?,
            icsk_bind_hash: byte("inet_connection_sock", "icsk_bind_hash")?,
            tb_fastreuse: byte("inet_bind_bucket", "fastreuse")?,
            tb_fastreuseport: byte("inet_bind_bucket", "fastreuseport")?,
            tcp_ts_recent_stamp: byte("tcp_sock", "rx_opt.ts_recent_stamp")?,
            inet_sport: byte("inet_sock", "inet_sport")?,
            has_port_range: u32::from(port_range.is_some()),
            port_range_low: port_range.map_or(0, |(low, _)| low),
            port_range_high: port_range.map_or(0, |(_, high)| high),
            net_inum: byte("net", "ns.inum")?,
            tw_timer_expires: byte("inet_timewait_sock", "tw_timer.expires")?,
            tw_tb: byte("inet_timewait_sock", "tw_tb")?,
            tw_substate: byte("inet_timewait_sock", "tw_substate")?,
            tw_connect_bind: connect_bind.unwrap_or(0) / 8,
            tw_connect_bind_shift: connect_bind.unwrap_or(0) % 8,
            tw_ts_recent_stamp: byte("tcp_timewait_sock", "tw_ts_recent_stamp")?,
            has_typed_task: u32::from(self.has_typed_task()),
            task_group_leader: byte("task_struct", "group_leader")?,
            task_start_boottime: byte("task_struct", "start_boottime")?,
            task_tgid: byte("task_struct", "tgid")?,
            task_pid: byte("task_struct", "pid")?,
            task_comm: byte("task_struct", "comm")?,
            task_cred: byte("task_struct", "cred")?,
            cred_uid: byte("cred", "uid")?,
            task_mm: byte("task_struct", "mm")?,
            task_cgroups: byte("task_struct", "cgroups")?,
            task_files: byte("task_struct", "files")?,
            mm_arg_start: byte("mm_struct", "arg_start")?,
            mm_arg_end: byte("mm_struct", "arg_end")?,
            bprm_filename: byte("linux_binprm", "filename")?,
            css_set_dfl_cgrp: byte("css_set", "dfl_cgrp")?,
            cgroup_kn: byte("cgroup", "kn")?,
            kernfs_node_name: byte("kernfs_node", "name")?,
            kernfs_node_id: byte("kernfs_node", "id")?,
            files_fdt: byte("files_struct", "fdt")?,
            fdt_max_fds: byte("fdtable", "max_fds")?,
            fdt_fd: byte("fdtable", "fd")?,
            file_private_data: byte("file", "private_data")?,
            socket_sk: byte("socket", "sk")?,
            socket_file: byte("socket", "file")?,
            regs_arg1: registers.arguments[0],
            regs_arg2: registers.arguments[1],
            regs_arg3: registers.arguments[2],
            regs_return: registers.result,
        })
    }

    /// What an iterator over TCP sockets needs.
    ///
    /// # Errors
    /// Names what this kernel does not have.
    pub fn bucket_fields(&self) -> Result<BucketFields> {
        let common = self.structures("sock_common");
        let field = |name| Ok::<_, anyhow::Error>(self.find_in(&common, "sock_common", name)? / 8);
        let entry = self.structures("inet_timewait_sock");
        let bucket = self.structures("inet_bind_bucket");
        let of_bucket =
            |name| Ok::<_, anyhow::Error>(self.find_in(&bucket, "inet_bind_bucket", name)? / 8);
        Ok(BucketFields {
            iterator: self.iterator("bpf_iter_tcp")?,
            skc_state: field("skc_state")?,
            skc_num: field("skc_num")?,
            skc_cookie: field("skc_cookie")?,
            sk_userlocks: self.byte_offset("sock", "sk_userlocks")?,
            icsk_bind_hash: self.byte_offset("inet_connection_sock", "icsk_bind_hash")?,
            tw_tb: self.find_in(&entry, "inet_timewait_sock", "tw_tb")? / 8,
            connect_bind: self.find_in(&entry, "inet_timewait_sock", "tw_connect_bind").ok(),
            fastreuse: of_bucket("fastreuse")?,
            fastreuseport: of_bucket("fastreuseport")?,
        })
    }

    fn iterator(&self, function: &str) -> Result<u32> {
        let is_function = |(_, found): &(u32, Type)| matches!(found, Type::Func(_));
        let iterator = self.types(function).find(is_function).map(|(id, _)| id);
        iterator.with_context(|| format!("this kernel has no {function}"))
    }

    /// What an iterator over open files needs.
    ///
    /// # Errors
    /// Names what this kernel does not have.
    pub fn file_fields(&self) -> Result<FileFields> {
        // Without the index a name is looked for in all types: so no structure twice.
        let inode = self.structures("inode");
        let field = |name| Ok::<_, anyhow::Error>(self.find_in(&inode, "inode", name)? / 8);
        Ok(FileFields {
            iterator: self.iterator("bpf_iter_task_file")?,
            file_inode: self.byte_offset("file", "f_inode")?,
            inode_mode: field("i_mode")?,
            inode_number: field("i_ino")?,
            inode_super_block: field("i_sb")?,
            super_block_magic: self.byte_offset("super_block", "s_magic")?,
            task_tgid: self.byte_offset("task_struct", "tgid")?,
        })
    }

    /// Where the kernel keeps the ends of a socket's own port range (`IP_LOCAL_PORT_RANGE`, from Linux 6.3,
    /// and where distributions have brought it to older ones): a structure of two, later a number that
    /// has the lower end in its lower half.
    fn port_range(&self) -> Option<(u32, u32)> {
        let find = |path| self.byte_offset("inet_sock", path).ok();
        if let (Some(low), Some(high)) = (find("local_port_range.lo"), find("local_port_range.hi"))
        {
            return Some((low, high));
        }
        let at = find("local_port_range")?;
        Some(if cfg!(target_endian = "big") { (at + 2, at) } else { (at, at + 2) })
    }

    /// Where the kernel keeps whether connect() chose the port of a TIME_WAIT entry, in bits.
    fn connect_bind(&self) -> Option<u32> {
        self.find("inet_timewait_sock", "tw_connect_bind").ok()
    }

    /// Whether a port that connect() alone has taken since can be shared again (`SOCK_CONNECT_BIND`,
    /// from Linux 6.18). Without, a port that bind() took stays closed to connect() for as long as
    /// anybody holds it.
    pub fn has_connect_bind(&self) -> bool {
        self.connect_bind().is_some()
    }

    /// See [`Offsets::has_typed_task`]. Told by a helper that came right after (Linux 6.1), for a
    /// helper's programs are not in BTF.
    fn has_typed_task(&self) -> bool {
        self.types("bpf_ktime_get_tai_ns").any(|(_, found)| matches!(found, Type::Func(_)))
    }

    fn registers(&self) -> Result<Registers> {
        if cfg!(target_arch = "x86_64") {
            let register = |name| self.byte_offset("pt_regs", name);
            let arguments = [register("di")?, register("si")?, register("dx")?];
            Ok(Registers { arguments, result: register("ax")? })
        } else if cfg!(target_arch = "aarch64") {
            let x0 = self.byte_offset("pt_regs", "regs")?;
            Ok(Registers { arguments: [x0, x0 + 8, x0 + 16], result: x0 })
        } else {
            // Unknown: reads of registers will give zeroes, and the kprobe backend is refused.
            Ok(Registers::default())
        }
    }

    fn byte_offset(&self, structure: &str, path: &str) -> Result<u32> {
        Ok(self.find(structure, path)? / 8)
    }

    /// The bit offset of `a.b` in a structure by name, through anonymous structures and unions.
    fn find(&self, structure: &str, path: &str) -> Result<u32> {
        self.find_in(&self.structures(structure), structure, path)
    }

    /// The structures of a name that are more than announced.
    fn structures(&self, name: &str) -> Vec<Struct> {
        let structure = |(_, found)| match found {
            Type::Struct(found) if !found.members.is_empty() => Some(found),
            _ => None,
        };
        self.types(name).filter_map(structure).collect()
    }

    fn find_in(&self, structures: &[Struct], structure: &str, path: &str) -> Result<u32> {
        for candidate in structures {
            let mut inside = Some(Type::Struct(candidate.clone()));
            let mut bit_offset = 0;
            for name in path.split('.') {
                let Some((at, field_type)) =
                    inside.take().and_then(|outer| self.member(&outer, name))
                else {
                    break;
                };
                bit_offset += at;
                inside = Some(field_type);
            }
            if inside.is_some() {
                return Ok(bit_offset);
            }
        }
        Err(anyhow!("this kernel has no field {path} in struct {structure}"))
    }

    /// A member's bit offset and type, looked for in anonymous members too.
    fn member(&self, outer: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(outer) | Type::Union(outer)) = outer else { return None };
        for member in &outer.members {
            let member_name = self.btf.resolve_name(member).unwrap_or_default();
            if member_name == name {
                return Some((member.bit_offset(), self.btf.resolve_chained_type(member).ok()?));
            }
            if member_name.is_empty()
                && let Ok(inner) = self.btf.resolve_chained_type(member)
                && let Some((at, found)) = self.member(&inner, name)
            {
                return Some((member.bit_offset() + at, found));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_offsets_of_the_running_kernel() {
        let Ok(types) = KernelTypes::read() else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        let offsets = types.offsets().unwrap();
        // The same on every kernel from 5.10 to 7.2.
        assert_eq!(
            (offsets.skc_daddr, offsets.skc_rcv_saddr, offsets.skc_dport, offsets.skc_num),
            (0, 4, 12, 14)
        );
        assert_eq!((offsets.skc_family, offsets.skc_net, offsets.skc_v6_daddr), (16, 48, 56));
    }

    #[test]
    fn names_a_field_that_the_kernel_does_not_have() {
        let Ok(types) = KernelTypes::read() else {
            println!("skipped: this kernel has no BTF");
            return;
        };
        let error = types.byte_offset("sock_common", "skc_nothing").unwrap_err();
        assert_eq!(error.to_string(), "this kernel has no field skc_nothing in struct sock_common");
    }
}
