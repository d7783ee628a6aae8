//! Who took a port, and that it stays known after the process has gone.

use std::fs;

use jiff::{Timestamp, ToSpan};
use tests::child::Traffic;
use tests::container::Container;
use tests::expect::Reason::Closed;
use tests::expect::Via::Connect;
use tests::lines::{Acquire, Body, Line, Process};
use tests::net::{Net, scenario};
use tests::socket::{Taken, tcp};
use tests::system::beside_this_test;

/// The server, as arguments have it.
const SERVER: &str = "127.0.0.1:80";

fn process(line: &Line) -> &Process {
    match &line.body {
        Body::Acquire(Acquire { process: Some(process), .. }) => process,
        Body::TimeWait(line) => line.process.as_ref().expect("an owner"),
        Body::Release(line) => line.process.as_ref().expect("an owner"),
        other => panic!("not a line with an owner: {other:?}"),
    }
}

fn assert_is_traffic(process: &Process, arguments: &[&str], uid: u32) {
    let path = beside_this_test("traffic").expect("the path of traffic").display().to_string();
    let command_line = [&[path.as_str()], arguments].concat();
    assert_eq!(process.name, "traffic");
    assert_eq!(process.executable.as_deref(), Some(path.as_str()));
    assert_eq!(process.command_line.as_deref().unwrap_or_default(), command_line);
    assert_eq!(process.uid, Some(uid));
}

#[test]
fn a_process_that_connects_and_exits_at_once_is_known_after_its_end() {
    scenario(|net| {
        let _server = net.server();
        let arguments = ["exit", "4242", SERVER];
        let before = Timestamp::now() - 1.second();
        let mut traffic = Traffic::start(&arguments);
        let pid = traffic.pid();
        let a = traffic.taken().expect("a connection");
        assert!(traffic.wait().success());
        let after = Timestamp::now() + 1.second();

        let lines = net.sees([a.acquired(Connect), a.time_wait()]);
        for line in &lines {
            let process = process(line);
            assert_is_traffic(process, &arguments, 4242);
            assert_eq!(process.pid, pid);
            let start = process.start_time.expect("its start time");
            assert!(before <= start && start <= after, "{before} {start} {after}");
        }
        assert_eq!(process(&lines[0]).start_time, process(&lines[1]).start_time);
    });
}

#[test]
fn a_forked_child_without_exec_has_its_own_pid_and_its_parents_program() {
    scenario(|net| {
        let _server = net.server();
        let arguments = ["fork-connect", SERVER];
        let mut traffic = Traffic::start(&arguments);
        let a = traffic.taken().expect("a connection");
        let lines = net.sees([a.acquired(Connect)]);
        assert_ne!(process(&lines[0]).pid, traffic.pid());
        assert_is_traffic(process(&lines[0]), &arguments, 0);
        traffic.go_on();
        net.sees([a.time_wait()]);
    });
}

#[test]
fn a_thread_that_names_itself_is_told_by_that_name_beside_the_programs() {
    scenario(|net| {
        let _server = net.server();
        let connect_as = |name: &str| {
            fs::write("/proc/thread-self/comm", name).expect("name the thread");
            let mut a = tcp().connect(tests::net::SERVER);
            a.reset();
            let lines = net.sees([a.acquired(Connect), a.released(Closed)]);
            for line in &lines {
                let process = process(line);
                assert_eq!((process.name.as_str(), process.pid), (name, std::process::id()));
                let program = process.exec_name.as_deref().expect("its program's name");
                let executable = process.executable.as_deref().expect("its executable");
                let file = executable.rsplit('/').next().expect("a file");
                assert!(file.starts_with(program), "{program} of {executable}");
            }
        };
        connect_as("puma-worker");
        connect_as("http-worker-1");
    });
}

#[test]
fn a_port_stays_with_the_process_that_took_it_when_a_child_keeps_it_open() {
    scenario(|net| {
        let _server = net.server();
        let mut traffic = Traffic::start(&["fork", SERVER]);
        let a = traffic.taken().expect("a connection");
        assert!(traffic.wait().success());
        net.sees([a.acquired(Connect)]);
        traffic.go_on();
        net.sees([a.time_wait()]);
    });
}

#[test]
fn a_killed_process_with_a_hundred_sockets_leaves_a_hundred_time_waits() {
    scenario(|net| {
        let server = net.server();
        let mut traffic = Traffic::start(&["hold", "100", SERVER]);
        let taken: Vec<Taken> = (0..100).map(|_| traffic.taken().expect("a port")).collect();
        net.sees(taken.iter().map(|a| a.acquired(Connect)));
        traffic.kill();
        traffic.wait();
        // Where an ACK comes while the kernel closes a socket, that stays in FIN_WAIT2 until the peer's FIN.
        (0..100).for_each(|_| server.accept().close());
        net.sees_in_any_order(taken.iter().map(Taken::time_wait));
    });
}

/// Runs this traffic in the cgroup of a container; returns its lines, and the container.
fn in_container(net: &Net, arguments: &[&str], stays: bool) -> (Vec<Line>, Container) {
    let container = Container::make();
    let _server = net.server();
    let mut traffic = Traffic::start_in_cgroup(container.cgroup(), arguments);
    let a = traffic.taken().expect("a connection");
    let mut lines = Vec::new();
    if stays {
        lines.extend(net.sees([a.acquired(Connect)]));
        traffic.go_on();
        assert!(traffic.wait().success());
        lines.extend(net.sees([a.time_wait()]));
    } else {
        assert!(traffic.wait().success());
        lines.extend(net.sees([a.acquired(Connect), a.time_wait()]));
    }
    (lines, container)
}

fn assert_is_container(process: &Process, of: &Container) {
    let container = process.container.as_ref().expect("a container");
    assert_eq!((&*container.id, &*container.runtime), (&*of.id, "docker"));
    assert_eq!(container.name.as_ref(), Some(&of.name));
}

#[test]
fn a_process_in_the_cgroup_of_a_container_names_the_container() {
    scenario(|net| {
        let (lines, container) = in_container(net, &["hold", "1", SERVER], true);
        for line in &lines {
            assert_is_container(process(line), &container);
            assert_eq!(process(line).cgroup, Some(container.cgroup_path()));
        }
    });
}

#[test]
fn a_container_is_known_after_the_end_of_its_process() {
    scenario(|net| {
        let (lines, container) = in_container(net, &["exit", "0", SERVER], false);
        for line in &lines {
            assert_is_container(process(line), &container);
            // Of a process that is gone, the kernel's side keeps the last component at least.
            let cgroup = process(line).cgroup.as_deref().expect("its cgroup");
            let path = container.cgroup_path();
            assert!(cgroup == path || format!("/{cgroup}") == path, "{cgroup}");
        }
    });
}
