//! Requests that mean no good: each is refused, and nothing else suffers.

use std::{io::Write as _, net::TcpStream};

use tests::{
    http::{AT, Serve, ask, get},
    net::in_namespace,
};

fn with_host(host: &str, more: &str) -> u16 {
    ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n")).status
}

#[test]
fn what_a_page_of_another_site_could_send_is_refused() {
    in_namespace(|inode| {
        let Some(_serve) = Serve::start(inode, &["--allow-host", "metrics.example"]) else {
            return;
        };
        assert_eq!(with_host("localhost", ""), 200);
        assert_eq!(with_host("Metrics.Example:443", ""), 200);
        assert_eq!(with_host("evil.example", ""), 421);
        assert_eq!(with_host("localhost", "Host: evil.example\r\n"), 421);
        assert_eq!(with_host("localhost", "Origin: http://evil.example\r\n"), 403);
        assert_eq!(with_host("localhost", "Sec-Fetch-Site: cross-site\r\n"), 403);
        for path in ["/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/metrics/../x"] {
            assert_eq!(get(path).status, 404, "{path}");
        }
        assert_eq!(ask("POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").status, 405);
        let huge = format!("/{}", "a".repeat(100_000));
        assert!(matches!(get(&huge).status, 414 | 431), "a path of 100,000 bytes");
        assert_eq!(get("/metrics").status, 200);
    });
}

/// Heads that never end, more than there is room for.
#[test]
fn connections_that_only_stay_open_make_room_for_those_that_ask() {
    in_namespace(|inode| {
        let Some(_serve) = Serve::start(inode, &[]) else { return };
        let slow: Vec<TcpStream> = (0..1500)
            .map(|_| {
                let mut stream = TcpStream::connect(AT).expect("connect");
                // It may have been cut off already.
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: local");
                stream
            })
            .collect();
        for path in ["/livez", "/metrics", "/snapshot"] {
            assert_eq!(get(path).status, 200, "{path}");
        }
        drop(slow);
    });
}
