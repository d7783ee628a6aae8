//! TIME_WAIT: whose it is, how it ends.

use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tests::child::Traffic;
use tests::expect::Reason::{Closed, TimeWaitExpired, TimeWaitReset, TimeWaitReused};
use tests::expect::Via::{Bind, Connect};
use tests::lines::Body;
use tests::net::{
    Net, SERVER, Server, TIME_WAIT, TIME_WAIT_LENGTH, ephemeral_range, scenario, sysctl, tcp_state,
    time_waits_to,
};
use tests::observer::until;
use tests::socket::{Held, local, tcp};
use tests::system::Backend;

/// Older kernels compare whole seconds, newer ones 1000 ms: this is enough for both.
const REUSABLE_AFTER: Duration = Duration::from_millis(2100);
/// TCP timestamps go on by the millisecond, and a SYN must be newer than what it replaces.
const NEWER: Duration = Duration::from_millis(20);

/// Entries in a row that are ended by an RST and give their memory to the next.
const ENTRIES: usize = 8;

/// Keeps the calling thread on this processor.
fn stay_on(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).expect("a processor's number");
    sched_setaffinity(Pid::from_raw(0), &set).expect("stay on a processor");
}

/// Connects, and closes before the server does.
fn close_first(net: &Net, server: &Server, mut a: Held) -> Held {
    let mut child = server.accept();
    a.close();
    child.read_to_the_end();
    child.close();
    net.until_time_wait(&a);
    a
}

#[test]
fn time_wait_keeps_the_port_for_a_minute_and_then_releases_it() {
    scenario(|net| {
        let server = net.server();
        let a = close_first(net, &server, tcp().connect(SERVER));
        net.sees([a.acquired(Connect), a.time_wait()]);
        net.until_gone(&a);
        let lines = net.sees([a.released(TimeWaitExpired)]);
        let Body::Release(release) = &lines[0].body else { panic!("{lines:?}") };
        let held = Duration::from_nanos(release.held_ns.expect("how long it was held"));
        assert!(held >= TIME_WAIT_LENGTH, "{held:?}");
    });
}

#[test]
fn time_wait_of_a_fixed_port_ends_like_any_other() {
    scenario(|net| {
        let server = net.server();
        let a = close_first(net, &server, tcp().bind(local(4000)).connect(SERVER));
        net.sees([a.acquired(Bind(4000)), a.time_wait()]);
        net.until_gone(&a);
        net.sees([a.released(TimeWaitExpired)]);
    });
}

#[test]
fn a_connect_by_another_process_takes_time_wait_over() {
    scenario(|net| {
        ephemeral_range(40000, 40000);
        sysctl("ipv4/tcp_tw_reuse", "1");
        let server = net.server();
        let a = close_first(net, &server, tcp().connect(SERVER));
        thread::sleep(REUSABLE_AFTER);
        let mut traffic = Traffic::start(&["hold", "1", "127.0.0.1:80"]);
        let b = traffic.taken().expect("a connection");
        assert_eq!((a.port(), b.port()), (40000, 40000));
        net.sees([
            a.acquired(Connect),
            a.time_wait(),
            a.released(TimeWaitReused),
            b.acquired(Connect),
        ]);
    });
}

#[test]
fn a_connect_from_a_fixed_port_takes_time_wait_over() {
    scenario(|net| {
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = net.server();
        let a = close_first(net, &server, tcp().reuse_address().bind(local(4000)).connect(SERVER));
        thread::sleep(NEWER);
        let mut b = tcp().reuse_address().bind(local(4000)).connect(SERVER);
        net.sees([
            a.acquired(Bind(4000)),
            a.time_wait(),
            b.acquired(Bind(4000)),
            a.released(TimeWaitReused),
        ]);
        b.reset();
        net.sees([b.released(Closed)]);
    });
}

#[test]
fn an_rst_ends_time_wait_that_nobody_takes_over() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        a.socket().send(b"not read").expect("send");
        a.close();
        // An entry, no socket any more: what comes while one succeeds the other is lost.
        let is_entry = |one: &String| one.contains(" 05 03:");
        until("the connection is in FIN_WAIT2", || time_waits_to(SERVER).iter().any(is_entry));
        // Data that it has not read makes its close an RST.
        child.close();
        net.sees([a.acquired(Connect), a.time_wait(), a.released(TimeWaitReset)]);
    });
}

/// The kernel gives out the memory of the entry that was freed last on a processor.
#[test]
fn what_ended_an_entry_is_not_said_of_the_next_one_at_its_address() {
    let processors = thread::available_parallelism().expect("how many processors there are");
    if processors.get() < 2 {
        println!("skipped: needs two processors");
        return;
    }
    scenario(|net| {
        sysctl("ipv4/tcp_tw_reuse", "0");
        stay_on(0);
        let server = net.server();
        for _ in 0..ENTRIES {
            let mut a = tcp().connect(SERVER);
            let mut of_a = server.accept();
            let mut b = tcp().reuse_address().bind(local(4000)).connect(SERVER);
            let mut of_b = server.accept();
            a.socket().send(b"not read").expect("send");
            a.close();
            until("a is in FIN_WAIT2", || {
                let is_entry = |one: &String| one.contains(" 05 03:");
                time_waits_to(SERVER).iter().any(is_entry)
            });
            // With an RST, see above: the entry is freed, on this processor.
            of_a.close();
            b.close();
            // Its FIN, the one packet that comes for the entry of b, goes by another processor.
            thread::scope(|scope| {
                scope.spawn(|| {
                    stay_on(1);
                    of_b.read_to_the_end();
                    of_b.close();
                });
            });
            net.until_time_wait(&b);
            let mut c = tcp().reuse_address().bind(local(4000)).connect(SERVER);
            let _of_c = server.accept();
            net.sees([
                a.acquired(Connect),
                b.acquired(Bind(4000)),
                a.time_wait(),
                a.released(TimeWaitReset),
                b.time_wait(),
                c.acquired(Bind(4000)),
                b.released(TimeWaitReused),
            ]);
            c.reset();
            net.sees([c.released(Closed)]);
        }
    });
}

#[test]
fn a_syn_takes_time_wait_over() {
    scenario(|net| {
        let server = net.server();
        let a = close_first(net, &server, tcp().reuse_address().bind(local(4000)).connect(SERVER));
        let mut server = server.0;
        server.close();
        net.sees([a.acquired(Bind(4000)), a.time_wait(), server.released(Closed)]);
        thread::sleep(NEWER);
        let b = tcp().reuse_address().bind(local(4000)).listen();
        let c = tcp().reuse_address().bind(SERVER).connect(local(4000));
        net.sees([b.acquired(Bind(4000)), c.acquired(Bind(80)), a.released(TimeWaitReused)]);
    });
}

#[test]
fn a_syn_onto_the_time_wait_of_an_accepted_child_gives_no_lines() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().reuse_address().bind(local(4000)).connect(SERVER);
        server.accept().close();
        a.read_to_the_end();
        a.close();
        until("the accepted child is in TIME_WAIT", || {
            tcp_state(SERVER, local(4000)) == Some(TIME_WAIT)
        });
        thread::sleep(NEWER);
        let mut b = tcp().reuse_address().bind(local(4000)).connect(SERVER);
        b.reset();
        net.sees([
            a.acquired(Bind(4000)),
            a.released(Closed),
            b.acquired(Bind(4000)),
            b.released(Closed),
        ]);
    });
}

#[test]
fn without_room_for_time_wait_the_port_is_free_at_once() {
    scenario(|net| {
        sysctl("ipv4/tcp_max_tw_buckets", "0");
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        a.close();
        child.read_to_the_end();
        child.close();
        if Backend::chosen().is_exact() {
            net.sees([a.acquired(Connect), a.released(Closed)]);
        } else {
            // It looks like TIME_WAIT until socket diagnostics show that there is none.
            net.sees([a.acquired(Connect), a.time_wait(), a.released(TimeWaitExpired)]);
        }
    });
}

#[test]
fn a_peer_that_never_closes_leaves_a_time_wait_that_a_timer_ends() {
    scenario(|net| {
        sysctl("ipv4/tcp_fin_timeout", "1");
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        let _child = server.accept();
        a.close();
        net.until_gone(&a);
        net.sees([a.acquired(Connect), a.time_wait(), a.released(TimeWaitExpired)]);
    });
}
