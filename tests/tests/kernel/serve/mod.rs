//! `serve`: what others ask while the kernel is observed.

mod check;
mod crowd;
mod hostile;
mod pools;
mod prometheus;
mod report;
mod service;

use tests::{
    http::{Events, Serve, get, get_unix},
    net::{SERVER, in_namespace},
    recording::Directory,
    socket::tcp,
};

/// Each connection once, though the client came back in between.
#[test]
fn a_client_that_comes_back_goes_on_after_what_it_had() {
    in_namespace(|inode| {
        let Some(serve) = Serve::start(inode, &[]) else { return };
        let _server = tcp().bind(SERVER).listen();
        let query = "?events=acquire&to=127.0.0.1:80";
        let mut events = Events::follow(query, None);
        let mut clients: Vec<_> = (0..3).map(|_| tcp().connect(SERVER)).collect();
        let mut seen: Vec<_> = (0..2).map(|_| events.next_event().expect("an event")).collect();
        drop(events);
        clients.extend((0..3).map(|_| tcp().connect(SERVER)));
        let mut events = Events::follow(query, Some(&seen[1].id));
        seen.extend((0..4).map(|_| events.next_event().expect("an event")));
        let port = |data: &str| {
            let line: serde_json::Value = serde_json::from_str(data).expect("JSON");
            line["local"]["port"].as_u64().expect("a port")
        };
        let ports: Vec<u64> = seen.iter().map(|event| port(&event.data)).collect();
        let expected: Vec<u64> = clients.iter().map(|client| client.port().into()).collect();
        assert_eq!(ports, expected);
        assert!(seen.iter().all(|event| event.name == "acquire"));

        let mut other_run = Events::follow("?events=acquire", Some("1-1"));
        assert_eq!(other_run.next_event().expect("an event").name, "lost");
        assert_eq!(serve.terminated(), Some(0));
        assert_eq!(events.next_event(), None, "the stream ends with the run");
    });
}

/// Each connection once, though the program was started again meanwhile.
#[test]
fn a_client_that_comes_back_after_a_restart_goes_on_from_the_recording() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let Some(serve) = Serve::start(inode, &["--record", &file]) else { return };
        let _server = tcp().bind(SERVER).listen();
        let query = "?events=acquire,stop&to=127.0.0.1:80";
        let mut events = Events::follow(query, None);
        let before: Vec<_> = (0..40).map(|_| tcp().connect(SERVER)).collect();
        let had = events.next_event().expect("an event");
        assert_eq!(serve.terminated(), Some(0));

        let serve = Serve::start(inode, &["--record", &file]).expect("it runs here");
        let mut events = Events::follow(query, Some(&had.id));
        let run = |id: &str| id.split_once('-').expect("RUN-SEQ").0.to_owned();
        let again: Vec<_> = (0..39).map(|_| events.next_event().expect("an event")).collect();
        assert!(again.iter().all(|event| run(&event.id) == run(&had.id)));
        let end = events.next_event().expect("an event");
        assert_eq!((run(&end.id), &*end.name), (run(&had.id), "stop"));
        let later = tcp().connect(SERVER);
        let next = events.next_event().expect("an event");
        assert_ne!(run(&next.id), run(&had.id), "{next:?}");
        let port = |data: &str| {
            let line: serde_json::Value = serde_json::from_str(data).expect("JSON");
            line["local"]["port"].as_u64().expect("a port")
        };
        let told = [&had].into_iter().chain(&again).chain([&next]);
        let told: Vec<u64> = told.map(|event| port(&event.data)).collect();
        let made: Vec<u64> = before.iter().chain([&later]).map(|held| held.port().into()).collect();
        assert_eq!(told, made);

        let mut unknown = Events::follow(query, Some("1-1"));
        assert_eq!(unknown.next_event().expect("an event").name, "lost");
        assert_eq!(serve.terminated(), Some(0));
    });
}

/// Whoever may use the host may ask its loopback address.
#[test]
fn command_lines_are_only_for_those_who_may_read_everything() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let socket = directory.path().join("socket");
        let at = format!("unix:{}", socket.display());
        let Some(_serve) = Serve::start(inode, &["--listen", "127.0.0.1:7678", "--listen", &at])
        else {
            return;
        };
        let (open, trusted) = (get("/snapshot"), get_unix(&socket, "/snapshot"));
        assert_eq!((open.status, trusted.status), (200, 200));
        assert!(open.body.contains("\"name\":\"port-observer\""), "{}", open.body);
        assert!(!open.body.contains("command_line"), "{}", open.body);
        assert!(trusted.body.contains("\"command_line\":["), "{}", trusted.body);
    });
}
