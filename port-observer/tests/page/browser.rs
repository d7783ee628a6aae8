//! A headless Chromium, through its WebDriver.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fantoccini::{
    Client, ClientBuilder,
    actions::{InputSource as _, KeyAction, KeyActions, MouseActions, PointerAction},
    elements::Element,
    wd::WebDriverCompatibleCommand,
};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long something on a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with a page in it. It ends when this is dropped.
pub struct Browser {
    client: Client,
    driver: Driver,
    _profile: Profile,
}

struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The directory of a browser's files, which its command line names.
struct Profile(TempDir);

impl Drop for Profile {
    /// Where a test failed, the browser goes on without its driver.
    fn drop(&mut self) {
        let name = self.0.path().display().to_string();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        for process in processes {
            let pid = process.file_name().to_string_lossy().parse();
            let command_line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if let Ok(pid) = pid
                && String::from_utf8_lossy(&command_line).contains(&name)
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a test in a browser that shows a page of this size, if there is one.
pub fn in_browser(page: &Path, size: (u32, u32), test: impl AsyncFnOnce(&Browser)) {
    in_browser_at(&format!("file://{}", page.display()), size, test);
}

/// The same of a page at an address.
pub fn in_browser_at(address: &str, size: (u32, u32), test: impl AsyncFnOnce(&Browser)) {
    let (Some(driver), Some(chromium)) = (program("chromedriver"), program("chromium")) else {
        // Past what the test harness catches: nobody is to take it for tested.
        let why = "skipped the page in a browser: there is no chromium here (cargo xtask setup)";
        let _ = writeln!(std::io::stderr(), "{why}");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("an event loop").block_on(async {
        let browser = Browser::open(&driver, &chromium, size).await;
        browser.client.goto(address).await.expect("open the page");
        test(&browser).await;
        let Browser { client, driver, _profile } = browser;
        client.close().await.expect("close the browser");
        drop(driver);
    });
}

impl Browser {
    async fn open(driver: &Path, chromium: &Path, (width, height): (u32, u32)) -> Self {
        let mut child = Command::new(driver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start chromedriver");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let driver = Driver(child);
        let port = output
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let port = line.split_once("started successfully on port ")?.1;
                port.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let profile = Profile(TempDir::new().expect("a directory"));
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--force-device-scale-factor=1".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.0.path().display()),
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("start chromium");
        Self { client, driver, _profile: profile }
    }

    /// What a script returns.
    pub async fn script(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap_or_else(|e| panic!("{script}: {e}"))
    }

    /// Waits until a script returns this.
    pub async fn until(&self, script: &str, wanted: &Value) {
        self.wait(script, "what it should be", |found| found == wanted).await;
    }

    /// Waits until a script returns something else than this, and what that is.
    pub async fn until_other(&self, script: &str, than: &Value) -> Value {
        self.wait(script, "another one", |found| found != than).await
    }

    async fn wait(&self, script: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.script(script).await;
            if is_it(&found) {
                return found;
            }
            // A picture is long.
            let shown: String = found.to_string().chars().take(200).collect();
            assert!(Instant::now() < end, "{script} is {shown}, not {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first element that a selector finds.
    pub async fn find(&self, selector: &str) -> Element {
        let found = self.client.find(fantoccini::Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("find {selector}: {error}"))
    }

    /// Moves the pointer over an element, to a place between its left (-1) and its right end (1).
    pub async fn hover(&self, selector: &str, at: f64) {
        let over = self.place(selector, at).await;
        self.point(MouseActions::new("mouse".to_owned()).then(over)).await;
    }

    /// Drags from one such place to another.
    pub async fn drag(&self, selector: &str, from: f64, to: f64) {
        let middle = self.place(selector, f64::midpoint(from, to)).await;
        let (from, to) = (self.place(selector, from).await, self.place(selector, to).await);
        let mouse = MouseActions::new("mouse".to_owned())
            .then(from)
            .then(PointerAction::Down { button: 0 })
            .then(middle)
            .then(to)
            .then(PointerAction::Up { button: 0 });
        self.point(mouse).await;
    }

    async fn place(&self, selector: &str, at: f64) -> PointerAction {
        let element = self.find(selector).await;
        let (_, _, width, _) = element.rectangle().await.expect("where it is");
        let x = (at * width / 2.0).round();
        PointerAction::MoveToElement { element, duration: None, x, y: 0.0 }
    }

    async fn point(&self, mouse: MouseActions) {
        self.client.perform_actions(mouse).await.expect("move the pointer");
    }

    /// Presses a key, with the Shift key held or not; it goes to what has the focus.
    pub async fn press(&self, key: char, has_shift: bool) {
        let mut keys = KeyActions::new("keys".to_owned());
        let shift = '\u{e008}';
        if has_shift {
            keys = keys.then(KeyAction::Down { value: shift });
        }
        keys = keys.then(KeyAction::Down { value: key }).then(KeyAction::Up { value: key });
        if has_shift {
            keys = keys.then(KeyAction::Up { value: shift });
        }
        self.client.perform_actions(keys).await.expect("press a key");
    }

    /// Shows the page in this size from now on.
    pub async fn resize(&self, width: u32, height: u32) {
        let parameters = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        let body = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": parameters });
        self.issue("goog/cdp/execute", body).await;
        self.until("return innerWidth", &json!(width)).await;
    }

    /// Pretends that a media feature, or the medium itself, is this.
    pub async fn emulate(&self, media: &str, scheme: &str) {
        let parameters = json!({
            "media": media,
            "features": [{ "name": "prefers-color-scheme", "value": scheme }],
        });
        let body = json!({ "cmd": "Emulation.setEmulatedMedia", "params": parameters });
        self.issue("goog/cdp/execute", body).await;
    }

    /// What the browser has logged since it was last asked, of this kind.
    pub async fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.issue("se/log", json!({ "type": kind })).await;
        entries.as_array().expect("a list").clone()
    }

    /// The addresses that the page at this one asked for.
    pub async fn requests(&self, page: &str) -> Vec<String> {
        let messages = self.log("performance").await.into_iter().map(|entry| {
            let message = entry["message"].as_str().expect("a message").to_owned();
            serde_json::from_str::<Value>(&message).expect("JSON")["message"].take()
        });
        messages
            .filter(|message| message["method"] == "Network.requestWillBeSent")
            .filter(|message| message["params"]["documentURL"] == page)
            .map(|message| message["params"]["request"]["url"].as_str().expect("a URL").to_owned())
            .collect()
    }

    async fn issue(&self, path: &'static str, body: Value) -> Value {
        let done = self.client.issue_cmd(Own { path, body }).await;
        done.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// A command of chromedriver's own.
#[derive(Debug)]
struct Own {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Own {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
