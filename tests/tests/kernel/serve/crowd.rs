//! Many clients of `/events`, some of which do not read.

use std::{
    iter,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tests::{
    child::Traffic,
    http::{Event, Events, Serve, get},
    net::{SERVER, in_namespace},
    socket::{local, tcp, udp},
};

const CLIENTS: usize = 190;
const STALLED: usize = 10;

/// Accepts at [`SERVER`] while something runs, by several threads: a connection that finds the queue full
/// is tried again by the kernel after a second, and the next ones after more.
fn while_accepting(run: impl FnOnce()) {
    let listener = tcp().bind(SERVER).listen();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let accept =
            || while listener.accept_next().is_some() && !is_over.load(Ordering::Relaxed) {};
        let accepting = [(); 3].map(|()| scope.spawn(accept));
        run();
        is_over.store(true, Ordering::Relaxed);
        let _last = accepting.each_ref().map(|_| tcp().connect(SERVER));
        accepting.into_iter().for_each(|one| one.join().expect("an accepting thread"));
    });
}

/// So many connections, each reset at once.
fn reset(count: usize) {
    let mut traffic = Traffic::start(&["reset", &count.to_string(), &SERVER.to_string()]);
    assert_eq!(traffic.all_taken().len(), count);
    assert!(traffic.wait().success());
}

fn number(event: &Event) -> Option<u64> {
    event.id.rsplit_once('-')?.1.parse().ok()
}

/// How many lines it was told that it missed. Its lines follow each other but for these. Who takes nothing
/// for too long is cut off, and comes back as a browser does.
fn missed(events: &mut Events, last: u64) -> u64 {
    let (mut before, mut missed, mut told) = (None, 0, 0);
    let (mut had, mut cut_offs) = (None, 0);
    while before.is_none_or(|before| before < last) {
        let Some(event) = events.next_event() else {
            cut_offs += 1;
            assert!(cut_offs < 3, "the stream goes on");
            *events = Events::follow("", had.as_deref());
            continue;
        };
        let Some(number) = number(&event) else {
            let line: serde_json::Value = serde_json::from_str(&event.data).expect("JSON");
            assert_eq!(line["type"], "lost", "{line}");
            told += line["count"].as_u64().expect("how many");
            continue;
        };
        if let Some(before) = before.replace(number) {
            assert_eq!(number, before + 1 + told, "{event:?}");
        }
        had = Some(event.id);
        missed += std::mem::take(&mut told);
    }
    missed
}

#[test]
fn who_does_not_read_costs_others_nothing_and_is_told_what_it_missed() {
    in_namespace(|inode| {
        let Some(serve) = Serve::start(inode, &[]) else { return };
        let query = "?events=acquire&to=127.0.0.1:80";
        let clients: Vec<Events> = (0..CLIENTS).map(|_| Events::follow(query, None)).collect();
        let mut stalled: Vec<Events> = (0..STALLED).map(|_| Events::follow("", None)).collect();
        while_accepting(|| {
            let count = 2_500;
            let all = |mut events: Events| -> Vec<u64> {
                let next = || events.next_event().as_ref().and_then(number);
                iter::from_fn(next).take(count).collect()
            };
            thread::scope(|scope| {
                let clients: Vec<_> =
                    clients.into_iter().map(|events| scope.spawn(move || all(events))).collect();
                reset(count);
                let mut seen = clients.into_iter().map(|one| one.join().expect("a client"));
                let first = seen.next().expect("one");
                assert_eq!(first.len(), count);
                assert!(seen.all(|one| one == first), "each has the same lines");
            });
            // More than is kept.
            reset(30_000);
        });
        // The last line that they have to come to.
        let mut newest = Events::follow("?port=7000", None);
        let _mark = udp().bind(local(7_000));
        let last = iter::from_fn(|| newest.next_event()).find_map(|event| number(&event));
        let last = last.expect("a line");
        for events in &mut stalled {
            assert!(missed(events, last) > 0);
        }
        let resident = resident(serve.pid());
        assert!(resident < 200 << 20, "{resident} bytes");
        assert_eq!(get("/readyz").status, 200);
    });
}

/// The resident memory of a process, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes = line.trim().strip_suffix(" kB").expect("kB");
    kilobytes.parse::<u64>().expect("a number") << 10
}
