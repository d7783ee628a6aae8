//! `stress --html`: the page has what the answer has, and how it went over time.

use std::fs;

use serde_json::Value;
use tests::{
    recording::Directory,
    system::{self, Backend},
};

use super::{connections, has_servers, limit, run, servers::perl, stress};

/// The answer, and what the page draws from.
fn stressed(directory: &Directory, arguments: &[&str]) -> (Value, Value, String) {
    let page = directory.file("stress.html");
    let answer = stress(&[arguments, &["--html", &page]].concat());
    let page = fs::read_to_string(page).expect("the page");
    let (_, json) = page.split_once("id=\"report\">").expect("what it draws from");
    let (json, _) = json.split_once("</script>").expect("its end");
    let drawn: Value = serde_json::from_str(json).expect("one JSON object");
    assert_eq!(drawn["answer"], answer, "the page has the same");
    (answer, drawn, page)
}

fn numbers(column: &Value) -> Vec<f64> {
    column.as_array().expect("a column").iter().filter_map(Value::as_f64).collect()
}

#[test]
fn samples_lead_to_the_limit_which_is_marked() {
    let directory = Directory::make();
    let (answer, drawn, page) = stressed(&directory, &["--range", "40000-40199"]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 200));
    assert_eq!(drawn["limit_seconds"], answer["breaking_point"]["seconds"]);
    let connects = &drawn["connects"];
    let (seconds, made) = (numbers(&connects["seconds"]), numbers(&connects["connections"]));
    assert!(seconds.len() == made.len() && seconds.is_sorted(), "{connects}");
    assert_eq!(
        (seconds.first(), made.first(), made.last()),
        (Some(&0.0), Some(&0.0), Some(&200.0))
    );
    assert!(numbers(&connects["p50_seconds"]).iter().all(|time| *time > 0.0), "{connects}");
    for text in ["<!DOCTYPE html>", "Limit: ephemeral ports. 200 connections stand", "</html>"] {
        assert!(page.contains(text), "{text}");
    }
    // Backends that do not see how long the kernel searches draw nothing of it.
    let searched = numbers(&drawn["searches"]["p50_seconds"]);
    let is_seen = Backend::chosen().is_exact() && system::must_load();
    assert!(!is_seen || !searched.is_empty(), "{drawn}");
    assert_eq!(page.contains("id=\"search-time\""), !searched.is_empty());
}

#[test]
fn what_the_user_starts_and_what_it_says_is_text_on_the_page() {
    if !has_servers() {
        return;
    }
    let directory = Directory::make();
    let server = format!("{} # </script><script>alert(1)</script>", perl(64, 100, 0.0));
    let arguments = ["--connections", "20", "--server", &server, "--duration", "10s"];
    let (answer, drawn, page) = stressed(&directory, &arguments);
    assert_eq!(answer["configuration"]["server"], server);
    assert_eq!((limit(&answer), &drawn["limit_seconds"]), ("requested", &Value::Null));
    assert_eq!(page.matches("<script").count(), 2, "its own, and what it draws from");
}

#[test]
fn a_page_that_cannot_be_written_is_an_error_before_the_run() {
    let directory = Directory::make();
    let old = directory.file("old.json");
    fs::write(&old, "{}").expect("write a file");
    let missing = directory.file("missing/stress.html");
    for (page, words) in [
        (missing.as_str(), "No such file or directory"),
        ("/", "it is a directory; name a file in it"),
        (old.as_str(), "it is the answer of an earlier run; name another file"),
    ] {
        let output = run(&["--connections", "1", "--compare", &old, "--html", page]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words) && output.stdout.is_empty(), "{said}");
    }
}
