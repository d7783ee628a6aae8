//! Limits of the whole machine: in a virtual one, which the tests have for themselves.

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tests::{
    observer::until,
    system::{self, beside_this_test},
};

use super::{FORKS, OF_FORKS, answer_of, command, connections, limit, reason};

/// A user that has no processes.
const USER: u32 = 47_322;
/// Modules that the machine has for single tests.
const MODULES: &str = "/lib/modules/on-demand";

/// Whether the machine may be changed.
fn is_ours() -> bool {
    let is_ours = system::in_virtual_machine();
    if !is_ours {
        println!("skipped: this changes limits of the whole machine, which is not the tests' own");
    }
    is_ours
}

fn also(answer: &Value) -> Vec<&str> {
    let also = answer["breaking_point"]["also"].as_array().expect("a list");
    also.iter().filter_map(Value::as_str).collect()
}

fn read(path: &str) -> String {
    system::read(path).unwrap_or_else(|error| panic!("{error:#}"))
}

fn write(path: &Path, value: &str) {
    fs::write(path, value).unwrap_or_else(|e| panic!("write {value} to {}: {e}", path.display()));
}

/// A setting of the kernel; dropped, it is as it was before.
struct Setting(PathBuf, String);

impl Setting {
    fn set(name: &str, value: &str) -> Self {
        let path = Path::new("/proc/sys").join(name);
        let before = read(&path.display().to_string());
        write(&path, value);
        Self(path, before)
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, self.1.trim());
    }
}

#[test]
fn open_files_of_the_host_are_a_limit_of_users_alone() {
    if !is_ours() {
        return;
    }
    let users = "kernel/unprivileged_userns_clone";
    let is_asked = Path::new("/proc/sys").join(users).exists();
    let _users = is_asked.then(|| Setting::set(users, "1"));
    // The kernel's count is exact to 32 a processor.
    let _most = Setting::set("fs/file-max", "8000");
    let mut of_user = command(&[]);
    let answer = answer_of(of_user.uid(USER).gid(USER));
    assert_eq!(limit(&answer), "file_max");
    assert!((3_500..4_000).contains(&connections(&answer)), "two files each: {answer}");
    assert_eq!(answer["breaking_point"]["errno"], "ENFILE");
    assert!(reason(&answer).contains("of 8000 files open (fs.file-max)"), "{answer}");
    let of_root = answer_of(&mut command(&["--connections", "5000"]));
    assert_eq!((limit(&of_root), connections(&of_root)), ("requested", 5_000));
    assert_eq!(also(&of_root), Vec::<&str>::new(), "it may have more: {of_root}");
}

/// Connections with data that nobody reads, until TCP has no more memory. `most`: pages of it.
fn use_up_tcp_memory(most: u64) -> Vec<(TcpStream, TcpStream)> {
    let pages = || {
        let text = read("/proc/net/sockstat");
        let line = text.lines().find(|line| line.starts_with("TCP:")).expect("a line of TCP");
        let pages = line.rsplit_once("mem ").expect("pages of memory").1;
        pages.parse::<u64>().expect("a number")
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("its address");
    let mut pairs = Vec::new();
    while pages() < most {
        assert!(pairs.len() < 3_000, "{} of {most} pages", pages());
        let mut from = TcpStream::connect(address).expect("connect");
        let to = listener.accept().expect("accept").0;
        from.set_nonblocking(true).expect("wait for nothing");
        while from.write(&[0; 65_536]).is_ok() {}
        pairs.push((from, to));
    }
    pairs
}

#[test]
fn memory_of_tcp_is_named_where_a_server_waits_to_send() {
    if !is_ours() {
        return;
    }
    let traffic = beside_this_test("traffic").expect("the helper");
    let server = format!("exec {} greet 500000 127.0.0.1:8000", traffic.display());
    let arguments = ["--server", &server, "--rate", "20", "--duration", "60s"];
    let enough = answer_of(&mut command(&[&arguments[..], &["--connections", "40"]].concat()));
    assert_eq!((limit(&enough), connections(&enough)), ("requested", 40));
    let _most = Setting::set("net/ipv4/tcp_mem", "6000 8000 10000");
    let pairs = use_up_tcp_memory(10_000);
    let answer = answer_of(&mut command(&arguments));
    drop(pairs);
    assert_eq!(limit(&answer), "tcp_memory");
    assert!(reason(&answer).contains("of 10000 pages of memory"), "{answer}");
}

/// Connection tracking in all namespaces; dropped, there is none.
struct Tracking(Vec<String>);

impl Tracking {
    fn begin() -> Option<Self> {
        let entries = fs::read_dir(MODULES).into_iter().flatten().flatten();
        let mut modules: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        modules.sort();
        let mut tracking = Self(Vec::new());
        for module in &modules {
            let name = module.file_stem().and_then(|name| name.to_str()).expect("a module's name");
            let (_, name) = name.split_once('-').expect("a number before it");
            let mut insert = Command::new("insmod");
            insert.arg(module);
            // Without a rule that asks for it, nothing is tracked.
            if name == "nf_conntrack" {
                insert.arg("enable_hooks=1");
            }
            let output = system::output(&mut insert).expect("insert a module");
            assert!(output.status.success(), "{output:?}");
            tracking.0.insert(0, name.to_owned());
        }
        // Before Linux 5.13 it takes a rule: the parameter is ignored.
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let _connected = TcpStream::connect(listener.local_addr().expect("its address"));
        let count = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
        count.is_ok_and(|count| count.trim() != "0").then_some(tracking)
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        let remove = |name: &String| {
            let output = system::output(Command::new("rmmod").arg(name));
            output.is_ok_and(|output| output.status.success())
        };
        if !self.0.iter().all(remove) {
            println!("connections are tracked until the machine ends");
        }
    }
}

#[test]
fn connections_that_are_not_tracked_any_more_get_no_answer() {
    if !is_ours() {
        return;
    }
    let Some(_tracking) = Tracking::begin() else {
        println!("skipped: this kernel tracks no connections without a rule");
        return;
    };
    let max = "net/netfilter/nf_conntrack_max";
    {
        let _max = Setting::set(max, "500");
        let answer = answer_of(&mut command(&[]));
        assert_eq!(limit(&answer), "conntrack");
        assert!((450..=501).contains(&connections(&answer)), "{answer}");
        assert!(reason(&answer).contains("of 500 connections are tracked"), "{answer}");
        assert_eq!(also(&answer), Vec::<&str>::new());
        // As many ports as may be tracked.
        let both = answer_of(&mut command(&["--range", "40000-40499"]));
        assert_eq!((limit(&both), also(&both)), ("ephemeral_ports", vec!["conntrack"]));
    }
    let enough = answer_of(&mut command(&["--connections", "600"]));
    assert_eq!((limit(&enough), connections(&enough)), ("requested", 600));
}

/// A control group within another, which has the limit; dropped, both are removed.
struct Limited(PathBuf);

impl Limited {
    fn make(controller: &str, settings: &[(&str, &str)]) -> Option<Self> {
        let root = system::cgroup2().expect("cgroup2");
        let controllers = read(&root.join("cgroup.controllers").display().to_string());
        if !controllers.split_whitespace().any(|one| one == controller) {
            println!("skipped: there is no controller {controller}");
            return None;
        }
        let outer = root.join(format!("limits-{controller}"));
        write(&root.join("cgroup.subtree_control"), &format!("+{controller}"));
        fs::create_dir(&outer).expect("make a control group");
        let group = Self(outer);
        write(&group.0.join("cgroup.subtree_control"), &format!("+{controller}"));
        fs::create_dir(group.inner()).expect("make a control group within it");
        for (name, value) in settings {
            write(&group.0.join(name), value);
        }
        Some(group)
    }

    fn inner(&self) -> PathBuf {
        self.0.join("inner")
    }

    /// A shell's command that enters it.
    fn enter(&self) -> String {
        format!("echo 0 > {}", self.inner().join("cgroup.procs").display())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let is_removed = || fs::remove_dir(self.inner()).is_ok() || !self.inner().exists();
        if !std::thread::panicking() {
            until("the control group to be empty", is_removed);
        }
        let _ = (fs::remove_dir(self.inner()), fs::remove_dir(&self.0));
    }
}

#[test]
fn a_control_group_above_the_servers_that_has_no_more_processes_is_named() {
    if !is_ours() {
        return;
    }
    let Some(group) = Limited::make("pids", &[("pids.max", "20")]) else { return };
    let server = format!("{}; {FORKS}", group.enter());
    let answer = answer_of(&mut command(&[&["--server", &server], &OF_FORKS[2..]].concat()));
    assert_eq!((limit(&answer), connections(&answer)), ("cgroup_pids", 19));
    assert!(reason(&answer).contains("it has 20 of 20 (pids.max)"), "{answer}");
    assert_eq!(also(&answer), Vec::<&str>::new());
}

#[test]
fn threads_of_the_host_are_named_where_a_server_makes_no_more() {
    if !is_ours() {
        return;
    }
    let loadavg = read("/proc/loadavg");
    let threads = loadavg.split(['/', ' ']).nth(4).and_then(|all| all.parse::<u64>().ok());
    // Enough for the program itself.
    let most = threads.expect("how many there are") + 100;
    let _most = Setting::set("kernel/threads-max", &most.to_string());
    let answer = answer_of(&mut command(&OF_FORKS));
    assert_eq!(limit(&answer), "threads");
    let told = format!("of {most} threads (kernel.threads-max");
    assert!(reason(&answer).contains(&told), "{answer}");
}

#[test]
fn a_control_group_without_memory_is_named_where_it_ends_the_server() {
    if !is_ours() {
        return;
    }
    // All of it at once: which one is killed first is the kernel's choice.
    let settings = [("memory.max", "6M"), ("memory.oom.group", "1")];
    let Some(group) = Limited::make("memory", &settings) else { return };
    let server = format!("{}; {FORKS}", group.enter());
    let answer = answer_of(&mut command(&[&["--server", &server], &OF_FORKS[2..]].concat()));
    assert_eq!(limit(&answer), "cgroup_memory");
    assert!(reason(&answer).contains("memory.max"), "{answer}");
    assert_eq!(answer["server"]["alive"], false);
}

#[test]
fn a_control_group_without_memory_is_named_where_it_ends_who_connects() {
    if !is_ours() {
        return;
    }
    let Some(group) = Limited::make("memory", &[("memory.max", "96M")]) else { return };
    let mut limited = Command::new("/bin/sh");
    // Ports are plenty: once half of a range is used, connect() searches long.
    let stress = command(&["--destinations", "4"]);
    limited.args(["-c", &format!("{}; exec \"$0\" \"$@\"", group.enter())]);
    let answer = answer_of(limited.arg(stress.get_program()).args(stress.get_args()));
    assert_eq!(limit(&answer), "cgroup_memory");
    assert_eq!(also(&answer), Vec::<&str>::new());
    assert!(connections(&answer) > 1_000, "{answer}");
}
