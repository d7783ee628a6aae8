//! Real servers at their limit.

use std::fs;

use serde_json::Value;
use tests::recording::Directory;

use super::{connections, has_servers, limit, stress};

/// A server of Perl, which every Debian has: its backlog, how many connections it accepts, and how long it
/// waits after each.
pub(super) fn perl(backlog: u32, accepts: u32, pause: f64) -> String {
    format!(
        "exec perl -MIO::Socket::INET -e '\
         $s = IO::Socket::INET->new(LocalPort => 8000, Listen => {backlog}, ReuseAddr => 1) or die; \
         for (1 .. {accepts}) {{ push @c, $s->accept or die \"$!\"; select undef, undef, undef, {pause} }} \
         sleep 1000'"
    )
}

fn reason(answer: &Value) -> &str {
    answer["breaking_point"]["reasons"][0].as_str().expect("a reason")
}

fn also(answer: &Value) -> Vec<&str> {
    let also = answer["breaking_point"]["also"].as_array().expect("a list");
    also.iter().filter_map(Value::as_str).collect()
}

#[test]
fn a_server_that_takes_no_more_is_told_by_its_queue() {
    if !has_servers() {
        return;
    }
    let never = stress(&["--server", &perl(64, 0, 0.0)]);
    assert_eq!((limit(&never), connections(&never)), ("accept_queue", 65));
    assert_eq!(never["server"]["accept_queue"]["backlog"], 64);
    let stops = stress(&["--server", &perl(64, 300, 0.0)]);
    assert_eq!((limit(&stops), also(&stops)), ("server", vec!["accept_queue"]));
    assert_eq!(stops["server"]["connections"], 300);
    assert_eq!(stops["server"]["accepting"], false);
    let slow = stress(&["--server", &perl(16, 100_000, 0.05)]);
    assert_eq!(limit(&slow), "accept_queue", "{}", reason(&slow));
    assert!(reason(&slow).contains("the server (perl) accepts some "), "{slow}");
    // Once its queue is empty it takes a connection, though it never sends anything.
    assert!(slow["server"]["recovered_seconds"].is_number(), "{slow}");
    assert!(slow["server"].get("first_byte_seconds").is_none(), "{slow}");
}

#[test]
fn descriptors_of_the_server_are_told_from_those_of_who_connects() {
    if !has_servers() {
        return;
    }
    // It goes on to try, as servers do.
    let tries = "ulimit -n 120; exec perl -MIO::Socket::INET -e '\
                 $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 64) or die; \
                 while (1) { my $c = $s->accept; if ($c) { push @c, $c } \
                 else { select undef, undef, undef, 0.1 } }'";
    let answer = stress(&["--server", tries]);
    assert_eq!(limit(&answer), "file_descriptors", "{answer}");
    assert!(reason(&answer).contains("the server (perl) has 12"), "{answer}");
    let dies = format!("ulimit -n 120; {}", perl(64, 1_000, 0.0));
    let answer = stress(&["--server", &dies]);
    assert_eq!(limit(&answer), "file_descriptors", "{answer}");
}

#[test]
fn the_directive_of_a_server_that_is_known_is_named() {
    if !has_servers() {
        return;
    }
    let directory = Directory::make();
    let write = |name: &str, text: &str| {
        let path = directory.file(name);
        fs::write(&path, text).expect("write a configuration");
        path
    };
    let nginx = write(
        "nginx.conf",
        &format!(
            "daemon off; worker_processes 1; pid {}; error_log stderr; events {{ worker_connections 64; }} \
             http {{ access_log off; server {{ listen 8081; return 200 ok; }} }}",
            directory.file("nginx.pid")
        ),
    );
    let haproxy = write(
        "haproxy.cfg",
        "global\n  maxconn 50\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  \
         timeout connect 5s\nfrontend f\n  bind :8082\n  http-request return status 200\n",
    );
    for (command, called, table, accepted) in [
        (format!("exec nginx -c {nginx}"), "worker_connections", 64, 40..=64),
        (format!("exec haproxy -db -f {haproxy}"), "maxconn", 50, 50..=50),
        (
            "exec redis-server --port 6390 --save '' --maxclients 40".to_owned(),
            "maxclients",
            40,
            40..=40,
        ),
    ] {
        let answer = stress(&["--server", &command]);
        assert_eq!(limit(&answer), "runtime", "{command}");
        assert!(reason(&answer).contains(&format!("{called} is {table}")), "{answer}");
        let count = answer["server"]["connections"].as_u64().expect("how many it has");
        assert!(accepted.contains(&count), "{command}: {answer}");
    }
}

#[test]
fn the_ports_of_a_beam_run_out_while_its_accept_queue_fills() {
    if !has_servers() {
        return;
    }
    let beam = |ports: u32| {
        format!(
            "cd /; exec erl -noshell +Q {ports} -eval '{{ok, L}} = gen_tcp:listen(8080, [{{backlog, 128}}, \
             {{active, false}}, {{reuseaddr, true}}]), F = fun(F) -> case gen_tcp:accept(L) of {{ok, _}} -> ok; \
             E -> io:format(\"~p~n\", [E]), timer:sleep(200) end, F(F) end, F(F).'"
        )
    };
    let answer = stress(&["--server", &beam(1_024), "--range", "40000-43999"]);
    assert_eq!((limit(&answer), also(&answer)), ("runtime", vec!["accept_queue"]));
    assert!(reason(&answer).contains("+Q (ERL_MAX_PORTS) is 1024"), "{answer}");
    let accepted = answer["server"]["connections"].as_u64().expect("how many it has");
    assert!((1_000..1_024).contains(&accepted), "{answer}");
    // With more of them the next limit is met.
    let answer = stress(&["--server", &beam(65_536), "--range", "40000-41999"]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 2_000));
}
