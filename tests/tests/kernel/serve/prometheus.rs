//! Prometheus scrapes, and what it makes of it is what the kernel has.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use nix::errno::Errno;
use serde_json::Value;
use tests::{
    child::Guarded,
    http::{Serve, get, value},
    net::{SERVER, ephemeral_range, in_namespace, sysctl, tcp_states},
    observer::until_within,
    recording::Directory,
    socket::{local, tcp},
    system,
};

const PROMETHEUS: SocketAddr = local(9090);
const ALERTMANAGER: SocketAddr = local(9093);
const WEBHOOK: SocketAddr = local(9099);
/// Prometheus scrapes, evaluates and sends once a second.
const SOON: Duration = Duration::from_secs(40);

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/prometheus/port-observer.rules.yml")
}

/// Starts a program that `cargo xtask setup` installs.
fn start(program: &str, arguments: &[String]) -> Guarded {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Guarded(system::spawn(&mut command).unwrap_or_else(|error| panic!("{program}: {error}")))
}

fn checked(program: &str, arguments: &[&str], input: &str) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        system::spawn(&mut command).unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("its end");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    // A remark of the linter is no failure to it.
    assert!(
        !arguments.contains(&"metrics") || said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

/// Takes what is posted to it.
fn webhook() -> Receiver<String> {
    let listener = TcpListener::bind(WEBHOOK).expect("listen");
    let (to, bodies) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream: TcpStream = stream;
            let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
            let mut bytes = Vec::new();
            // The client leaves the connection open.
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if to.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
                break;
            }
        }
    });
    bodies
}

/// What Prometheus has of a query that gives one value; `None`: nothing yet.
fn prometheus_has(query: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(PROMETHEUS).ok()?;
    let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// The ports of a range that are in any state, as the kernel lists them.
fn used_in(range: std::ops::RangeInclusive<u16>) -> usize {
    let mut ports: Vec<u16> = tcp_states().into_values().flatten().collect();
    ports.retain(|port| range.contains(port));
    ports.sort_unstable();
    ports.dedup();
    ports.len()
}

#[test]
fn an_exhaustion_comes_to_the_one_who_is_to_be_woken() {
    in_namespace(|inode| {
        let directory = Directory::make();
        ephemeral_range(40_000, 40_039);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let Some(_serve) = Serve::start(inode, &[]) else { return };
        let alertmanager = directory.file("alertmanager.yml");
        fs::write(
            &alertmanager,
            format!(
                "route: {{receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
                 receivers: [{{name: hook, webhook_configs: [{{url: 'http://{WEBHOOK}/'}}]}}]\n"
            ),
        )
        .expect("write");
        let prometheus = directory.file("prometheus.yml");
        fs::write(
            &prometheus,
            format!(
                "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
                 rule_files: ['{}']\n\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{ALERTMANAGER}']}}]}}]}}\n\
                 scrape_configs: [{{job_name: port-observer, static_configs: [{{targets: \
                 ['127.0.0.1:7678']}}]}}]\n",
                rules().display()
            ),
        )
        .expect("write");
        let bodies = webhook();
        let _alertmanager = start(
            "prometheus-alertmanager",
            &[
                format!("--config.file={alertmanager}"),
                format!("--storage.path={}", directory.file("alerts")),
                format!("--web.listen-address={ALERTMANAGER}"),
                "--cluster.listen-address=".to_owned(),
            ],
        );
        let _prometheus = start(
            "prometheus",
            &[
                format!("--config.file={prometheus}"),
                format!("--storage.tsdb.path={}", directory.file("tsdb")),
                format!("--web.listen-address={PROMETHEUS}"),
            ],
        );
        let _server = tcp().bind(SERVER).listen();
        until_within("it is scraped", SOON, || {
            prometheus_has("port_observer_build_info") == Some(1.0)
        });
        let held: Vec<_> = (0..40).map(|_| tcp().connect(SERVER)).collect();
        assert_eq!(tcp().try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));
        until_within("the alert has come", SOON, || {
            bodies.try_iter().any(|body| {
                body.contains("PortsExhausted")
                    && body.contains("EADDRNOTAVAIL")
                    && body.contains("docs/alerts.md#portsexhausted")
            })
        });
        let headroom = "port_observer_space_headroom_ports{destination=\"127.0.0.1:80\"}";
        until_within("no port is left", SOON, || prometheus_has(headroom) == Some(0.0));
        let refused = "sum(port_observer_exhausted_total{via=\"connect\"})";
        until_within("one call was refused", SOON, || prometheus_has(refused) == Some(1.0));
        drop(held);
        let left = format!("{headroom} > 0");
        until_within("ports are left again", SOON, || prometheus_has(&left).is_none());
    });
}

#[test]
fn what_is_measured_is_what_the_kernel_lists() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_099);
        let directory = Directory::make();
        let textfile = directory.file("ports.prom");
        let options = ["--max-series", "200", "--textfile", &textfile];
        let Some(_serve) = Serve::start(inode, &options) else { return };
        let _server = tcp().bind(SERVER).listen();
        let _held: Vec<_> = (0..30).map(|_| tcp().connect(SERVER)).collect();
        let series =
            format!("port_observer_ephemeral_ports_used{{netns=\"{inode}\",protocol=\"tcp\"}}");
        until_within("they are equal", Duration::from_secs(10), || {
            let before = used_in(40_000..=40_099);
            let metrics = get("/metrics").body;
            // Each question takes a port, and that is in TIME_WAIT or not when the kernel is asked.
            let now = value(&metrics, &series).expect("the series");
            (before as f64..=used_in(40_000..=40_099) as f64).contains(&now) && before >= 30
        });
        let metrics = get("/metrics").body;
        checked("promtool", &["check", "metrics"], &metrics);
        let rest: usize = metrics.lines().filter(|line| !line.starts_with('#')).count();
        assert!(rest <= 200, "{rest} series");
        let all = format!(
            "port_observer_space_ports{{netns=\"{inode}\",protocol=\"tcp\",kind=\"connect\",\
             source=\"127.0.0.1\",destination=\"127.0.0.1:80\"}}"
        );
        assert_eq!(value(&metrics, &all), Some(100.0), "{metrics}");
        // node_exporter has these of its own.
        let text = fs::read_to_string(&textfile).expect("the file");
        assert!(
            text.contains("port_observer_ephemeral_ports{") && !text.contains("\nprocess_"),
            "{text}"
        );
        checked("promtool", &["check", "metrics"], &text);
    });
}

#[test]
fn rules_do_what_their_tests_say() {
    let rules = rules();
    let tests = rules.with_file_name("port-observer.test.yml");
    checked("promtool", &["check", "rules", &rules.to_string_lossy()], "");
    checked("promtool", &["test", "rules", &tests.to_string_lossy()], "");
}
