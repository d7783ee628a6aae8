//! `/report`: from the recording that is kept beside.

use nix::errno::Errno;
use serde_json::Value;
use tests::{
    http::{Serve, ask_unix, get, get_unix},
    net::{SERVER, ephemeral_range, in_namespace},
    observer::until,
    recording::{Directory, output},
    socket::{Held, tcp},
};

#[test]
fn a_report_over_http_says_what_a_report_of_the_file_says() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let socket = directory.path().join("socket");
        let at = format!("unix:{}", socket.display());
        let listen = ["--listen", "127.0.0.1:7678", "--listen", &at];
        ephemeral_range(40_000, 40_019);
        let _server = tcp().bind(SERVER).listen();
        let arguments = [&listen[..], &["--record", &file]].concat();
        let Some(serve) = Serve::start(inode, &arguments) else { return };
        let _held: Vec<Held> = (0..20).map(|_| tcp().connect(SERVER)).collect();
        assert_eq!(tcp().try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));

        for (query, status) in [
            ("", 200),
            ("?protocol=udp&cells=1", 200),
            ("?netns=1", 404),
            ("?netns=nowhere", 404),
            ("?cells=0", 400),
            ("?protocol=sctp", 400),
            ("?port=1", 400),
        ] {
            assert_eq!(get(&format!("/map{query}")).status, status, "{query}");
        }
        let map: Value = serde_json::from_str(&get("/map?cells=5").body).expect("JSON");
        let cells = map["cells"].as_array().expect("cells");
        let connected: Vec<&Value> = cells.iter().map(|cell| &cell["connected"]).collect();
        assert_eq!(connected, [4; 5], "{map}");

        let incidents = |text: &str| -> Vec<Value> {
            let told: Value = serde_json::from_str(text).expect("JSON");
            told["incidents"].as_array().expect("incidents").clone()
        };
        let mut answer = String::new();
        until("the incident is recorded", || {
            answer = get_unix(&socket, "/report").body;
            !incidents(&answer).is_empty()
        });
        assert_eq!(get("/report").status, 403, "others may read what this listener answers");
        assert_eq!(get("/history").status, 403);
        assert!(get("/top").body.contains("\"recording\":\"withheld\""));
        let history: Value =
            serde_json::from_str(&get_unix(&socket, "/history").body).expect("JSON");
        assert!(history["failures"].as_array().expect("a column").contains(&1.into()), "{history}");
        assert!(history["used"].as_array().expect("a column").contains(&20.into()), "{history}");
        let page = ask_unix(&socket, "/report?from=10m", "Accept: text/html\r\n");
        assert_eq!(page.status, 200);
        assert!(page.body.contains("127.0.0.1:80") && page.body.trim_end().ends_with("</html>"));
        let head = page.head.to_lowercase();
        let policies: Vec<&str> =
            head.lines().filter(|line| line.starts_with("content-security-policy:")).collect();
        assert!(policies.len() == 1 && policies[0].contains("'sha256-"), "{policies:?}");
        assert_eq!(get_unix(&socket, "/report?from=never").status, 400);
        assert_eq!(get_unix(&socket, "/report?since=10m").status, 400);
        let before = get_unix(&socket, "/report?to=2026-01-01T00:00:00Z&from=2025-01-01T00:00:00Z");
        assert_eq!(incidents(&before.body), [] as [Value; 0]);

        assert_eq!(serve.terminated(), Some(0));
        let of_file = String::from_utf8(output(&["report", &file, "--json"])).expect("text");
        assert_eq!(incidents(&answer), incidents(&of_file));
        let Some(_serve) = Serve::start(inode, &listen) else { return };
        assert_eq!(get_unix(&socket, "/report").status, 404, "nothing is recorded");
        assert_eq!(get_unix(&socket, "/history").status, 404);
    });
}
