//! `/pools` and leases over HTTP.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    http::{Answer, Event, Events, Serve, ask, get, get_unix, send_unix, value},
    net::in_namespace,
    observer::until,
    recording::Directory,
    socket::{local, udp},
};

const POOLS: &str = "[[pool]]\nname = \"media\"\nrange = \"21000-21003\"\nprotocol = \"udp\"\n\
                     [[pool]]\nname = \"a\"\nrange = \"19000-19001\"\ngroup = \"g\"\n\
                     [[pool]]\nname = \"b\"\nrange = \"19500-19501\"\ngroup = \"g\"\n";

fn of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

#[test]
fn ports_are_leased_over_http_and_by_commands_out_of_one_file() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let (file, state) = (directory.file("pools.toml"), directory.file("state"));
        fs::write(&file, POOLS).expect("write pools");
        let socket = directory.path().join("socket");
        let at = format!("unix:{}", socket.display());
        let arguments =
            ["--listen", "127.0.0.1:7678", "--listen", &at, "--pools", &file, "--state", &state];
        let Some(serve) = Serve::start(inode, &arguments) else { return };
        let send = |what: &str, body: &Value| send_unix(&socket, what, "", &body.to_string());

        // Of four ports somebody has one.
        let holder = udp().bind(local(21_001));
        let mut ids = Vec::new();
        for port in [21_000, 21_002, 21_003] {
            let body = json!({ "owner": "call", "ttl": "1h", "key": port.to_string() });
            let made = send("POST /pools/media/leases", &body);
            assert_eq!((made.status, &of(&made)["ports"]), (201, &json!([port])), "{}", made.body);
            assert_eq!(of(&send("POST /pools/media/leases", &body))["id"], of(&made)["id"]);
            ids.push(of(&made)["id"].to_string());
        }
        let full = send("POST /pools/media/leases", &json!({ "owner": "call" }));
        assert_eq!(full.status, 409);
        let why = of(&full)["error"].as_str().expect("a reason").to_owned();
        assert!(
            why.starts_with("No ports available in range 21000-21003: of 4 ports 3 are"),
            "{why}"
        );
        let media = &of(&get("/pools"))[0];
        assert_eq!(
            (&media["leased"], &media["used"], &media["free"]),
            (&json!(3), &json!(1), &json!(0))
        );
        let leases = of(&get("/leases"));
        assert_eq!(leases["unleased"][0]["process"]["pid"], std::process::id(), "{leases}");
        drop(holder);

        let gone = format!("DELETE /pools/media/leases/{}", ids[0]);
        assert_eq!([204, 404].map(|_| send(&gone, &Value::Null).status), [204, 404]);
        let renewal = format!("PUT /pools/media/leases/{}", ids[1]);
        assert_eq!(send(&renewal, &json!({ "ttl": "5m" })).status, 200);
        let other_pool = format!("DELETE /pools/a/leases/{}", ids[1]);
        for (what, body, status) in [
            (&*other_pool, json!({}), 404),
            ("POST /pools/none/leases", json!({ "owner": "o" }), 404),
            ("POST /pools/a/leases", json!({ "owner": "" }), 400),
            ("POST /pools/a/leases", json!({ "owner": "o", "units": 0 }), 400),
            ("POST /pools/a/leases", json!({ "owner": "o", "ttl": "soon" }), 400),
            ("POST /pools/a/leases", json!({ "owner": "o", "unit": 1 }), 400),
            ("POST /pools/a/leases", json!({ "owner": "o".repeat(5_000) }), 413),
            ("DELETE /pools/a/leases/x", json!({}), 400),
            ("POST /pools/media/leases", json!({ "owner": "other", "key": "21003" }), 409),
        ] {
            assert_eq!(send(what, &body).status, status, "{what} {body}");
        }
        let turns = [(); 3].map(|()| send("POST /groups/g/leases", &json!({ "owner": "engine" })));
        assert_eq!(turns.map(|made| of(&made)["pool"].clone()), ["a", "b", "a"]);
        assert_eq!(of(&get_unix(&socket, "/engines")), json!([]), "they are of no container");

        // Whoever may use the host may ask here.
        let body = "{\"owner\":\"o\"}";
        let open = format!(
            "POST /pools/b/leases HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(ask(&open).status, 403);

        // A range that is changed counts at once; a lease goes back to where it came from.
        fs::write(&file, POOLS.replace("21000-21003", "21004-21005")).expect("write pools");
        let made = send("POST /pools/media/leases", &json!({ "owner": "call" }));
        assert_eq!(of(&made)["ports"], json!([21_004]));
        let gone = format!("DELETE /pools/media/leases/{}", ids[2]);
        assert_eq!(send(&gone, &Value::Null).status, 204);
        assert_eq!(serve.terminated(), Some(0));
        let serve = Serve::start(inode, &arguments).expect("it has run before");
        let after = of(&get_unix(&socket, "/leases"));
        assert_eq!(after["leases"].as_array().expect("leases").len(), 5, "{after}");
        // The file is gone: what commands lease from now on is in another one.
        fs::remove_file(format!("{state}/leases.db")).expect("remove the leases");
        assert_eq!(of(&get_unix(&socket, "/leases"))["leases"], json!([]));
        assert_eq!(send("POST /pools/a/leases", &json!({ "owner": "engine" })).status, 201);
        let after = of(&get_unix(&socket, "/leases"));
        assert_eq!(after["leases"].as_array().expect("leases").len(), 1, "{after}");
        assert_eq!(serve.terminated(), Some(0));
    });
}

#[test]
fn pools_are_in_metrics_and_events_and_read_again_on_sighup() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let (file, state) = (directory.file("pools.toml"), directory.file("state"));
        let pool = |range: &str| {
            format!(
                "[[pool]]\nname = \"media\"\nrange = \"{range}\"\nprotocol = \"udp\"\n\
                 process = \"rtp\"\nnetns = \"{inode}\"\n"
            )
        };
        fs::write(&file, pool("21000-21003")).expect("write pools");
        let arguments = ["--pools", &file, "--state", &state];
        let Some(serve) = Serve::start(inode, &arguments) else { return };
        let has = |series: &str, wanted: f64| {
            let series = format!("port_observer_pool_{series}{{pool=\"media\"}}");
            until(&format!("{series} is {wanted}"), || {
                value(&get("/metrics").body, &series) == Some(wanted)
            });
        };
        has("ports", 4.0);
        has("ports_used", 0.0);
        has("leases", 0.0);
        has("taken_total", 0.0);
        let mut events = Events::follow("?events=pool_exhausted,pool_taken", None);
        let held: Vec<_> = (21_000..21_004).map(|port| udp().bind(local(port))).collect();
        has("ports_used", 4.0);
        has("ports_free", 0.0);
        has("full", 1.0);
        has("taken_total", 4.0);
        let mut seen = Vec::new();
        while seen.len() < 5 {
            seen.push(events.next_event().expect("an event").name);
        }
        assert_eq!(seen.iter().filter(|name| *name == "pool_taken").count(), 4);
        assert_eq!(seen.iter().filter(|name| *name == "pool_exhausted").count(), 1);

        // Of a range that is changed it is told after SIGHUP.
        fs::write(&file, pool("21002-21009")).expect("write pools");
        serve.signal(Signal::SIGHUP);
        has("ports", 8.0);
        has("ports_used", 2.0);
        has("full", 0.0);
        drop(held);
        has("ports_used", 0.0);
        assert_eq!(serve.terminated(), Some(0));
    });
}

#[test]
fn lines_about_pools_of_a_run_before_have_the_numbers_that_they_had() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let (file, state) = (directory.file("pools.toml"), directory.file("state"));
        let recording = directory.file("ports.db");
        let text = format!(
            "[[pool]]\nname = \"media\"\nrange = \"21000-21003\"\nprocess = \"rtp\"\nnetns = \"{inode}\"\n"
        );
        fs::write(&file, text).expect("write pools");
        let arguments = ["--pools", &file, "--state", &state, "--record", &recording];
        let Some(serve) = Serve::start(inode, &arguments) else { return };
        let query = "?events=pool_threshold,pool_exhausted,pool_taken";
        let mut events = Events::follow(query, None);
        let mut seen = Vec::<Event>::new();
        let held: Vec<_> = (21_000..21_004).map(|port| udp().bind(local(port))).collect();
        while seen.iter().filter(|event| event.name == "pool_taken").count() < 4 {
            seen.push(events.next_event().expect("an event"));
        }
        drop(held);
        assert_eq!(serve.terminated(), Some(0));

        let Some(serve) = Serve::start(inode, &arguments) else { return };
        let mut events = Events::follow(query, Some(&seen[0].id));
        for event in &seen[1..] {
            assert_eq!(events.next_event().as_ref(), Some(event));
        }
        assert_eq!(serve.terminated(), Some(0));
    });
}

#[test]
fn without_pools_there_are_none() {
    in_namespace(|inode| {
        let Some(_serve) = Serve::start(inode, &[]) else { return };
        let answer = get("/pools");
        assert_eq!(answer.status, 404);
        assert!(answer.body.contains("--pools FILE"), "{}", answer.body);
    });
}
