//! The page of `stress --html`, of a run that met a limit.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::browser::{Browser, in_browser};

/// Runs it over 200 ports; what it answers, and its page.
fn stressed(directory: &TempDir) -> Option<(Value, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can make the namespaces");
        return None;
    }
    let page = directory.path().join("stress.html");
    let own = env!("CARGO_BIN_EXE_port-observer");
    let output = Command::new("timeout")
        .args(["-k", "1", "120", own, "stress", "--json", "--backend", "tracepoint"])
        .args(["--close", "client", "--rate", "500", "--duration", "2s", "--tw-reuse", "0"])
        .args(["--range", "40000-40199", "--html"])
        .arg(&page)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    Some((serde_json::from_slice(&output.stdout).unwrap(), page))
}

/// What a picture shows beside it, with the caption first.
const READINGS: &str = "
    const table = document.querySelector('#connections .legend');
    return [table.caption.textContent, ...[...table.tBodies[0].rows].map((row) => row.cells[1].textContent)];";
/// The rows of its table.
const ROWS: &str = "
    return [...document.querySelectorAll('#connections .values tbody tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent));";

#[test]
fn the_page_of_a_run_draws_its_samples_and_loads_nothing() {
    let directory = TempDir::new().unwrap();
    let Some((answer, page)) = stressed(&directory) else { return };
    let html = std::fs::read_to_string(&page).unwrap();
    let (_, drawn) = html.split_once("id=\"report\">").unwrap();
    let drawn: Value = serde_json::from_str(drawn.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(drawn["answer"], answer);
    in_browser(&page, (1200, 900), async |browser: &Browser| {
        let connections = drawn["connects"]["connections"].as_array().unwrap().clone();
        assert!(connections.len() >= 10, "{connections:?}");
        let figures = "return [...document.querySelectorAll('figure')].map((one) => one.id);";
        let found = browser.script(figures).await;
        assert_eq!(found, json!(["connections", "rate", "connect-time"]));
        let canvases = "return document.querySelectorAll('figure canvas').length;";
        assert_eq!(browser.script(canvases).await, 3);

        browser.find("#connections summary").await.click().await.unwrap();
        let rows = browser.until_other(ROWS, &json!([])).await;
        let counts: Vec<u64> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[1].as_str().unwrap().replace(',', "").parse().unwrap())
            .collect();
        assert_eq!(json!(counts), json!(connections));
        let end = browser.script(READINGS).await;
        assert!(end[0].as_str().unwrap().starts_with("At the end: 2."), "{end}");
        browser.hover("#connections .u-over", -0.9).await;
        let early = browser.until_other(READINGS, &end).await;
        assert!(early[0].as_str().unwrap().starts_with("At 0."), "{early}");

        for width in [400, 1200] {
            browser.resize(width, 900).await;
            let wider = "return document.documentElement.scrollWidth - innerWidth;";
            browser.until(wider, &json!(0)).await;
        }
        let own = format!("file://{}", page.display());
        let mut requests = browser.requests(&own).await;
        requests.retain(|url| *url != own && !url.starts_with("data:"));
        assert_eq!(requests, [""; 0]);
        assert_eq!(browser.log("browser").await, [] as [Value; 0]);
        let untitled =
            "return [...document.querySelectorAll('table')].filter((one) => !one.caption).length;";
        assert_eq!(browser.script(untitled).await, 0);
    });
}
