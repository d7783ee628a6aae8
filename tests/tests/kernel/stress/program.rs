//! Programs of the user's at their limit, in a place of their own and where they are.

use std::{process::Command, thread, time::Duration};

use serde_json::Value;
use tests::{child::Guarded, system};

use super::{connections, has_servers, limit, run, stress};

/// Connects to itself until a call fails, says so, closes all and ends: with `accepts`, it takes what it
/// connects to.
fn perl(accepts: bool) -> String {
    let take = if accepts { "push @c, $l->accept or die; " } else { "" };
    format!(
        "use IO::Socket::INET; $l = IO::Socket::INET->new(LocalPort => 9000, Listen => 1000) or die; \
         while ($s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:9000')) {{ push @c, $s; {take}}} \
         warn \"$!\\n\"; @c = (); exit 3"
    )
}

fn reasons(answer: &Value) -> String {
    answer["breaking_point"]["reasons"].to_string()
}

#[test]
fn a_program_that_closes_all_and_ends_at_its_limit_has_it_named() {
    if !has_servers() {
        return;
    }
    let answer = stress(&["--nofile", "200", "--", "perl", "-e", &perl(true)]);
    assert_eq!(limit(&answer), "file_descriptors", "{answer}");
    assert_eq!(answer["breaking_point"]["errno"], "EMFILE");
    assert!((95..=98).contains(&connections(&answer)), "{answer}");
    assert!(reasons(&answer).contains("It has both ends of"), "{answer}");
    assert_eq!(answer["client"]["ended"], "exit status 3");
    assert!(answer.get("server").is_none(), "{answer}");

    let answer = stress(&["--range", "40000-40099", "--", "perl", "-e", &perl(false)]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 100));
    assert_eq!(answer["breaking_point"]["errno"], "EADDRNOTAVAIL");
    assert_eq!(answer["breaking_point"]["evidence"]["ports_used"], 100);
    assert_eq!(answer["client"]["both_ends"], 0);

    let answer = stress(&["--", "sh", "-c", "ulimit -n 200; perl -e \"$0\"", &perl(true)]);
    assert_eq!(limit(&answer), "file_descriptors", "of a child: {answer}");
    let answer = stress(&["--", "true"]);
    assert_eq!((limit(&answer), connections(&answer)), ("requested", 0));
}

#[test]
fn a_beam_with_both_ends_holds_half_and_it_is_said_why() {
    if !has_servers() {
        return;
    }
    let beam = "{ok, L} = gen_tcp:listen(8080, [{backlog, 128}, {active, false}]), \
                A = fun(A) -> case gen_tcp:accept(L) of {ok, _} -> ok; _ -> timer:sleep(200) end, A(A) end, \
                spawn(fun() -> A(A) end), \
                C = fun(C) -> case gen_tcp:connect({127,0,0,1}, 8080, [{active, false}], 1000) of \
                {ok, _} -> C(C); _ -> halt(1) end end, C(C).";
    let answer = stress(&["--", "erl", "-noshell", "+Q", "1024", "-eval", beam]);
    assert_eq!(limit(&answer), "runtime", "{answer}");
    assert!((500..=512).contains(&connections(&answer)), "{answer}");
    let reasons = reasons(&answer);
    assert!(reasons.contains("+Q (ERL_MAX_PORTS) is 1024. It has both ends of 5"), "{reasons}");
    assert!(reasons.contains("twice as many go"), "{reasons}");
}

#[test]
fn a_process_that_runs_is_watched_where_it_is_and_left_as_it_is() {
    if !has_servers() {
        return;
    }
    let holds = "use IO::Socket::INET; $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1000) or die; \
                 push @c, $s while $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $l->sockport); \
                 sleep 100";
    let shell = format!("ulimit -n 150; exec perl -e \"{}\"", holds.replace('$', "\\$"));
    let mut watched = Command::new("sh");
    let mut watched = Guarded(system::spawn(watched.args(["-c", &shell])).expect("perl"));
    let pid = watched.0.id().to_string();
    let answer = stress(&["--watch", &pid]);
    assert_eq!(limit(&answer), "file_descriptors", "{answer}");
    assert_eq!(answer["configuration"]["watch"].to_string(), pid);
    assert_eq!(answer["client"]["name"], "perl");
    assert!((140..150).contains(&connections(&answer)), "{answer}");
    assert!(watched.0.try_wait().expect("its state").is_none(), "it goes on");

    // Its end is the end.
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_secs(4));
        drop(watched);
    });
    let answer = stress(&["--watch", &pid, "--duration", "60s"]);
    ends.join().expect("the thread that ends it");
    assert_eq!(answer["client"]["ended"], "it is gone", "{answer}");
}

#[test]
fn a_program_gets_its_signals_those_of_real_time_too() {
    if !has_servers() {
        return;
    }
    let signals = "use POSIX; $n = 0; $SIG{RTMIN} = sub { $n++ }; $SIG{USR1} = sub { $n++ }; \
                   kill RTMIN => $$; kill USR1 => $$; exit($n == 2 ? 0 : 1)";
    let answer = stress(&["--", "perl", "-e", signals]);
    assert_eq!(answer["client"]["ended"], "exit status 0", "{answer}");
    let answer = stress(&["--", "sh", "-c", "yes | head -n 1 >/dev/null; kill -35 $$"]);
    assert_eq!(answer["client"]["ended"], "signal 35", "{answer}");
}

#[test]
fn what_can_not_be_run_or_watched_is_said() {
    for (arguments, why) in [
        (&["--", "no-such-program"][..], "can't run no-such-program: No such file or directory"),
        (&["--watch", "4194303"], "there is no process 4194303"),
        (&["--watch", "1", "--range", "40000-40099"], "cannot be used with"),
        (&["--connections", "5", "--", "true"], "cannot be used with"),
        (&["--"], "a command is missing after --"),
    ] {
        let output = run(arguments);
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
