//! The page of `serve`, over live traffic.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::browser::{Browser, in_browser_at};

/// How many ports the namespace has.
const PORTS: u16 = 20;
const SERVER: ([u8; 4], u16) = ([127, 0, 0, 1], 80);

/// A `serve`. It is killed when this is dropped.
pub(super) struct Serve {
    child: Child,
    pub(super) address: String,
}

impl Serve {
    /// `None`: this machine can't observe so, and why is printed.
    pub(super) fn start(listen: &str, more: &[&str]) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_port-observer"))
            .args(["serve", "--backend", "tracepoint", "--listen", listen])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let place = lines.by_ref().find_map(|line| {
            let place = line.split_once("serving on ").map(|(_, place)| place.to_owned());
            said.push(line);
            place
        });
        // Its pipe is to be read to its end.
        thread::spawn(move || lines.for_each(drop));
        let Some(address) = place else {
            let _ = child.wait();
            println!("skipped: it can't observe here: {}", said.join("\n"));
            return None;
        };
        Some(Self { child, address })
    }

    pub(super) fn place(&self) -> &str {
        self.address.trim_start_matches("http://").trim_end_matches('/')
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This thread is in a network namespace of its own from now on, with few ports.
fn enter_small_namespace() -> TcpListener {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    assert!(up.success());
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
    TcpListener::bind(SocketAddr::from(SERVER)).unwrap()
}

/// A network namespace whose ports run out when it is told. It ends when this is dropped.
pub(super) struct Small {
    pub(super) netns: u64,
    go_on: mpsc::Sender<()>,
    told: mpsc::Receiver<u64>,
}

impl Small {
    pub(super) fn make() -> Self {
        let (tell, told) = mpsc::channel();
        let (go_on, gone_on) = mpsc::channel();
        // The browser's thread stays where the server is.
        thread::spawn(move || {
            let _server = enter_small_namespace();
            let connect = || TcpStream::connect(SocketAddr::from(SERVER));
            let mut taken = vec![connect().unwrap()];
            tell.send(fs::metadata("/proc/thread-self/ns/net").unwrap().ino()).unwrap();
            gone_on.recv().unwrap();
            taken.extend(std::iter::from_fn(|| connect().ok()));
            tell.send(taken.len() as u64).unwrap();
            // Until nobody can tell it to.
            assert!(gone_on.recv().is_err());
        });
        Self { netns: told.recv().unwrap(), go_on, told }
    }

    /// Takes all ports and asks for one more, once the page shows the namespace.
    pub(super) async fn exhaust(&self, browser: &Browser) {
        let script = format!(
            "return [...document.querySelectorAll('#namespace-list tbody tr')].some(
                (row) => row.dataset.key === '{}' && row.textContent.includes('40000'));",
            self.netns
        );
        browser.until(&script, &json!(true)).await;
        self.go_on.send(()).unwrap();
        assert_eq!(self.told.recv().unwrap(), u64::from(PORTS));
    }
}

pub(super) const STATUS: &str = "return document.getElementById('status').textContent;";
const NOTICES: &str = "return document.getElementById('notices').textContent;";

/// What is said of calls that failed in this namespace: others may fail too.
fn own(netns: u64) -> String {
    format!(
        "const own = [...document.querySelectorAll('#failure-list article')]
            .map((article) => article.textContent).filter((text) => text.includes('{netns}'));"
    )
}

/// How many these are.
pub(super) fn failures_in(netns: u64) -> String {
    format!("{} return own.length;", own(netns))
}

#[test]
fn an_exhaustion_appears_at_once_and_the_page_comes_back_when_the_stream_was_cut() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can observe, and make network namespaces");
        return;
    }
    let Some(serve) = Serve::start("127.0.0.1:0", &[]) else { return };
    let (address, place) = (serve.address.clone(), serve.place().to_owned());
    let first = Small::make();
    let failures = failures_in(first.netns);
    let newest = format!("{} return own[0];", own(first.netns));
    in_browser_at(&address, (360, 800), async |browser: &Browser| {
        browser.until(STATUS, &json!("Live.")).await;
        assert_eq!(browser.script(&failures).await, 0);

        first.exhaust(browser).await;
        let began = Instant::now();
        browser.until(&failures, &json!(1)).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let newest = browser.script(&newest).await;
        for text in [
            "connect() 127.0.0.1 → 127.0.0.1:80 failed once",
            "EADDRNOTAVAIL",
            "What would have helped",
            "Widen net.ipv4.ip_local_port_range",
        ] {
            assert!(newest.as_str().unwrap().contains(text), "{text}: {newest}");
        }
        let width = "return [document.documentElement.scrollWidth, innerWidth]";
        let found = browser.script(width).await;
        assert!(found[0].as_u64() <= found[1].as_u64(), "{found}");
        // Its policy forbids nothing of what it does.
        assert_eq!(browser.log("browser").await, [] as [serde_json::Value; 0]);

        drop(serve);
        let told = json!("No answer: it can't be reached. All below is old.");
        browser.until(STATUS, &told).await;
        assert_eq!(browser.script(&failures).await, 1);

        let _again = Serve::start(&place, &[]).unwrap();
        browser.until(STATUS, &json!("Live.")).await;
        let notices = browser.script(NOTICES).await;
        assert!(notices.as_str().unwrap().contains("started again"), "{notices}");
        let second = Small::make();
        second.exhaust(browser).await;
        browser.until(&failures_in(second.netns), &json!(1)).await;
        assert_eq!(browser.script(&failures).await, 1);
    });
}

#[test]
fn a_browser_shows_the_page_to_who_types_a_token() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can observe");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, "0123456789abcdef\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let more = ["--token", path.to_str().unwrap()];
    let Some(serve) = Serve::start("127.0.0.1:0", &more) else { return };
    // As if it had been typed when the browser asked.
    let address = format!("http://me:0123456789abcdef@{}/", serve.place());
    in_browser_at(&address, (1280, 800), async |browser: &Browser| {
        browser.until(STATUS, &json!("Live.")).await;
        let rows = "return document.querySelectorAll('#namespace-list tbody tr').length > 0;";
        browser.until(rows, &json!(true)).await;
        assert_eq!(browser.log("browser").await, [] as [serde_json::Value; 0]);
    });
}
