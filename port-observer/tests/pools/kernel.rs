//! What the kernel says of pools: of this machine, as it is.

use std::net::{TcpListener, UdpSocket};

use crate::directory::{Directory, alone};

fn pools(range: &str, more: &str) -> Directory {
    let text = format!("[[pool]]\nname = \"media\"\nrange = \"{range}\"\n{more}\n");
    Directory::of(&[("pools.toml", &text)])
}

#[test]
fn what_holds_ports_of_a_pool_now_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = socket.local_addr().unwrap().port();
    let pid = std::process::id();
    for (port, protocol, how) in [(tcp, "tcp", "listening"), (udp, "udp", "bound")] {
        let more = format!("protocol = \"{protocol}\"");
        let (answer, code) = pools(&format!("{port}-{port}"), &more).check(&[]);
        let problem = answer.only("in_use");
        assert_eq!((&*problem.severity, code), ("warning", 0));
        assert!(problem.message.contains(&format!("(pid {pid}")), "{problem:?}");
        assert!(problem.message.contains(&format!("{protocol} {port} {how}")), "{problem:?}");
        // The same, as its own.
        let name = std::fs::read_to_string("/proc/self/comm").unwrap();
        let own = format!("{more}\nprocess = \"{}\"", name.trim());
        let (answer, _) = pools(&format!("{port}-{port}"), &own).check(&[]);
        assert!(answer.problems.iter().all(|one| one.code != "in_use"), "{answer:#?}");
    }
}

#[test]
fn a_pool_of_ephemeral_ports_is_told_with_the_line_that_keeps_what_is_reserved() {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
    let range = read("ip_local_port_range");
    let min: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let (answer, code) = pools(&format!("{}-{}", min - 10, min + 1), "").check(&[]);
    if read("ip_local_reserved_ports").trim().is_empty() {
        let problem = answer.only("ephemeral");
        let line = format!("sysctl -w net.ipv4.ip_local_reserved_ports={}-{}", min - 10, min + 1);
        assert_eq!((problem.fix.as_deref(), code), (Some(&*line), 0));
    }
    let (_, code) = pools(&format!("{min}-{min}"), "").check(&["--strict"]);
    assert_eq!(code, 1);
}

#[test]
fn a_namespace_that_is_not_there_is_said() {
    let (answer, code) = pools("1000-1001", "netns = \"no-such-namespace\"").check(&[]);
    assert!(answer.only("not_checked").message.contains("no-such-namespace"));
    assert_eq!(code, 0);
}

#[test]
fn a_process_that_was_not_started_again_is_named() {
    // A name that no other process has.
    let variable = format!("PORT_RANGE_{}", std::process::id());
    let directory = Directory::of(&[(".env", &format!("{variable}=21000-31000\n"))]);
    let stale = |value: &str| {
        let mut sleep = std::process::Command::new("sleep");
        let guard = alone();
        let mut child = sleep.arg("60").env(&variable, value).spawn().unwrap();
        drop(guard);
        let (answer, code) = directory.check(&[]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(code, 0);
        let found = answer.problems.into_iter().find(|one| one.code == "stale");
        (child.id(), found.map(|one| (one.message, one.line)))
    };
    assert_eq!(stale("21000-31000").1, None);
    let (pid, found) = stale("21000-21100");
    let (message, line) = found.unwrap();
    assert!(message.contains(&format!("sleep (pid {pid}")), "{message}");
    assert!(message.contains("\"21000-21100\", and .env:1 says \"21000-31000\""), "{message}");
    assert_eq!(line, Some(1));
}
