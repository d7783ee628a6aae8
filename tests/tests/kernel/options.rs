//! The command line of `live`, each case with an observer of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tests::child::{Guarded, Traffic};
use tests::expect::Reason::Closed;
use tests::expect::Row;
use tests::expect::Via::{Bind, Connect};
use tests::lines::{Body, Line};
use tests::net::{FIN_WAIT2, SERVER, in_namespace, tcp_state};
use tests::observer::{Ended, Observer, until};
use tests::socket::{ANY, Held, local, tcp, udp};
use tests::system::{Backend, cgroup2, program, spawn};

/// The lines between the first and the last, as rows, without what was held before.
fn rows(ended: &Ended) -> Vec<Row> {
    let [Line { body: Body::Start(_), .. }, lines @ .., Line { body: Body::Stop(_), .. }] =
        &ended.lines[..]
    else {
        panic!("not from start to stop: {:?}", ended.lines)
    };
    let row = |line: &Line| Row::of(line).unwrap_or_else(|| panic!("unexpected: {line:?}"));
    let new = |line: &&Line| !matches!(line.body, Body::Existing(_));
    lines.iter().filter(new).map(row).collect()
}

fn assert_same(seen: &[Row], expected: &[Row]) {
    let accepts = |(e, s): (&Row, &Row)| e.accepts(s, Backend::chosen());
    let same = seen.len() == expected.len() && expected.iter().zip(seen).all(accepts);
    assert!(same, "expected {expected:#?}\nseen {seen:#?}");
}

/// Takes a TCP port of this namespace and gives it back.
fn bind_and_close(port: u16) -> Held {
    let mut a = tcp().bind(local(port));
    a.close();
    a
}

#[test]
fn netns_lets_only_one_namespace_through() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string()])?;
        let a = bind_and_close(4000);
        in_namespace(|_| bind_and_close(4000));
        let expected = [a.acquired(Bind(4000)), a.released(Closed)];
        assert_same(&rows(&observer.interrupted()), &expected);
        Some(())
    });
}

/// As `ip netns exec` does it (netns_switch, lib/namespace.c of iproute2): mounts of its own, with a new
/// /sys, on which nothing is mounted. For the calling thread and what it starts.
fn hide_what_is_mounted_on_sys() {
    let nothing: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of this thread's own");
    mount(nothing, "/", nothing, MsFlags::MS_SLAVE | MsFlags::MS_REC, nothing).expect("slaves");
    while let Ok(mounted) = cgroup2() {
        umount2(&mounted, MntFlags::MNT_DETACH).expect("unmount cgroup2");
    }
    umount2("/sys", MntFlags::MNT_DETACH).expect("unmount /sys");
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing).expect("mount sysfs");
}

#[test]
fn where_a_mount_namespace_hides_cgroup2_the_backend_is_the_same() {
    in_namespace(|inode| {
        let (a, observed) = thread::scope(|scope| {
            let observed = scope.spawn(|| {
                hide_what_is_mounted_on_sys();
                let observer = Observer::own(&["--netns", &inode.to_string()])?;
                Some((bind_and_close(4000), observer.interrupted()))
            });
            observed.join().expect("observe from a mount namespace")
        })?;
        assert_same(&rows(&observed), &[a.acquired(Bind(4000)), a.released(Closed)]);
        assert!(!observed.errors.contains("cgroup"), "{}", observed.errors);
        Some(())
    });
}

#[test]
fn protocol_lets_only_one_protocol_through() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string(), "--protocol", "udp"])?;
        bind_and_close(4000);
        let mut a = udp().bind(local(4001));
        a.close();
        bind_and_close(4002);
        let expected = [a.acquired(Bind(4001)), a.released(Closed)];
        assert_same(&rows(&observer.interrupted()), &expected);
        Some(())
    });
}

#[test]
fn events_lets_only_these_types_through() {
    in_namespace(|inode| {
        let netns = inode.to_string();
        let types = ["--netns", &netns, "--events", "start,release,stop"];
        let observer = Observer::own(&types)?;
        let a = bind_and_close(4000);
        assert_same(&rows(&observer.interrupted()), &[a.released(Closed)]);
        Some(())
    });
}

#[test]
fn pid_lets_only_one_process_through() {
    in_namespace(|inode| {
        let _server = tcp().bind(SERVER).listen();
        // It takes its port once the observer runs: the pid has to be known first.
        let mut traffic = Traffic::start(&["wait", "127.0.0.1:80"]);
        let (netns, pid) = (inode.to_string(), traffic.pid().to_string());
        let observer = Observer::own(&["--netns", &netns, "--pid", &pid])?;
        bind_and_close(4000);
        traffic.go_on();
        let a = traffic.taken()?;
        assert!(traffic.wait().success());
        assert_same(&rows(&observer.interrupted()), &[a.acquired(Connect), a.released(Closed)]);
        Some(())
    });
}

#[test]
fn port_destination_name_and_user_narrow_what_is_printed() {
    in_namespace(|inode| {
        let _servers = [80, 81].map(|port| tcp().bind(local(port)).listen());
        let netns = inode.to_string();
        let observer =
            |filter: [&str; 2]| Observer::own(&["--netns", &netns, filter[0], filter[1]]);
        let by_port = observer(["--port", "4000-4001"])?;
        let by_destination = observer(["--to", "127.0.0.1:81"])?;
        let by_name = observer(["--name", "traffic"])?;
        let by_user = observer(["--uid", "4242"])?;

        let a = bind_and_close(4000);
        bind_and_close(4002);
        let mut b = tcp().connect(local(81));
        b.reset();
        let start = |arguments: &[&str]| {
            let mut traffic = Traffic::start(arguments);
            traffic.go_on();
            let taken = traffic.taken().expect("a connection");
            assert!(traffic.wait().success());
            taken
        };
        let c = start(&["exit", "4242", "127.0.0.1:80"]);
        until("the end of its connection is acknowledged", || {
            tcp_state(c.local, local(80)) == Some(FIN_WAIT2)
        });
        let d = start(&["wait", "127.0.0.1:80"]);

        let assert_sees = |observer: Observer, expected: &[Row]| {
            assert_same(&rows(&observer.interrupted()), expected);
        };
        let [c, d] =
            [[c.acquired(Connect), c.time_wait()], [d.acquired(Connect), d.released(Closed)]];
        assert_sees(by_port, &[a.acquired(Bind(4000)), a.released(Closed)]);
        assert_sees(by_destination, &[b.acquired(Connect), b.released(Closed)]);
        assert_sees(by_name, &[c.clone(), d].concat());
        assert_sees(by_user, &c);
        Some(())
    });
}

#[test]
fn wrong_usage_is_exit_code_2_and_says_what_was_wrong() {
    let mut command = Command::new(program().expect("the program"));
    command.args(["live", "--events", "nonsense"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = spawn(&mut command).and_then(Child::wait_with_output).expect("run it");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nonsense"));
}

#[test]
fn count_ends_after_so_many_events() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string(), "--count", "3"])?;
        let (a, b) = (bind_and_close(4000), bind_and_close(4001));
        let ended = observer.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.errors);
        let expected = [a.acquired(Bind(4000)), a.released(Closed), b.acquired(Bind(4001))];
        assert_same(&rows(&ended), &expected);
        Some(())
    });
}

#[test]
fn duration_ends_after_that_time() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string(), "--duration", "2s"])?;
        let ended = observer.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.errors);
        let Some(Line { body: Body::Stop(stop), .. }) = ended.lines.last() else {
            panic!("{:?}", ended.lines)
        };
        assert!((2.0..10.0).contains(&stop.duration_seconds), "{stop:?}");
        Some(())
    });
}

#[test]
fn sigint_ends_with_totals_after_everything_was_written() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string()])?;
        let _server = tcp().bind(SERVER).listen();
        let mut held: Vec<Held> = (0..50).map(|_| tcp().connect(SERVER)).collect();
        held.iter_mut().for_each(Held::reset);
        let ended = observer.interrupted();
        assert_eq!(rows(&ended).len(), 101, "{:?}", ended.lines);
        let Some(Line { body: Body::Stop(stop), .. }) = ended.lines.last() else {
            panic!("{:?}", ended.lines)
        };
        assert_eq!((stop.acquired, stop.released), (51, 50), "{stop:?}");
        assert_eq!((stop.events, stop.exhausted, stop.lost), (101, 0, 0), "{stop:?}");
        Some(())
    });
}

#[test]
fn states_adds_every_change_of_state() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string(), "--states"])?;
        let _server = tcp().bind(SERVER).listen();
        let mut a = tcp().connect(SERVER);
        a.reset();
        let ended = observer.interrupted();
        let of_a = |line: &Line| match &line.body {
            Body::State(state) => {
                let local = state.local.as_ref()?;
                let remote = state.remote.as_ref().map(|remote| remote.port);
                (local.port != 80 && (remote == Some(80) || local.port == a.port()))
                    .then(|| format!("{} {}", state.old, state.new))
            }
            _ => None,
        };
        let changes: Vec<String> = ended.lines.iter().filter_map(of_a).collect();
        assert_eq!(changes, ["CLOSE SYN_SENT", "SYN_SENT ESTABLISHED", "ESTABLISHED CLOSE"]);
        let others = ended.lines.iter().filter_map(Row::of).filter(|row| row.port == a.port());
        assert_same(&others.collect::<Vec<_>>(), &[a.acquired(Connect), a.released(Closed)]);
        Some(())
    });
}

#[test]
fn a_closed_pipe_ends_it_cleanly() {
    in_namespace(|inode| {
        Observer::shared()?;
        let mut command = Command::new(program().expect("the program"));
        command.args(["live", "--json", "--backend", Backend::chosen().name()]);
        command.args(["--netns", &inode.to_string()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut observer = Guarded(spawn(&mut command).expect("start the program"));
        let mut output = BufReader::new(observer.0.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the first line");
        assert!(line.contains("\"start\""), "{line}");
        drop(output);
        let mut status = None;
        until("it has ended", || {
            // Whatever it writes next finds nobody who reads.
            drop(tcp().bind(ANY));
            std::thread::sleep(Duration::from_millis(50));
            status = observer.0.try_wait().expect("wait for it");
            status.is_some()
        });
        let errors = std::io::read_to_string(observer.0.stderr.take().expect("a pipe"));
        let code = status.and_then(|status| status.code());
        assert_eq!((code, errors.expect("its errors").as_str()), (Some(0), ""));
        Some(())
    });
}

#[test]
fn summaries_have_connections_in_the_states_that_they_are_in() {
    in_namespace(|inode| {
        let observer = Observer::own(&["--netns", &inode.to_string(), "--summary", "250ms"])?;
        let server = tcp().bind(SERVER).listen();
        let connect = |_| (tcp().connect(SERVER), server.accept());
        let mut pairs: Vec<(Held, Held)> = (0..6).map(connect).collect();
        for (client, accepted) in &mut pairs[..4] {
            accepted.close();
            client.read_to_the_end();
        }
        let me = std::process::id();
        let states = |line: &Line| -> Option<(u32, u32, u32)> {
            let Body::Summary(summary) = &line.body else { return None };
            let mine = summary
                .processes
                .iter()
                .find(|one| one.process.as_ref().is_some_and(|process| process.pid == me))?;
            let closed = mine.tcp.close_wait.unwrap_or(0);
            Some((mine.tcp.established, closed, mine.tcp.fin_wait.unwrap_or(0)))
        };
        // Of two the whole connection, of four the client's side; the listener has its port once.
        let expected = Some((2, 4, 0));
        let seen = observer.wait_lines(0, |lines| {
            let last = lines.iter().rev().find_map(&states);
            (last == expected).then_some(())
        });
        seen.unwrap_or_else(|error| {
            let said = observer.wait_lines(0, |lines| lines.iter().rev().find_map(&states));
            panic!("{expected:?} was never said: {error:#}, but {said:?}")
        });
        observer.interrupted();
        Some(())
    });
}
