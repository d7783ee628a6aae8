//! An HTML page that is one file and needs nothing else: no network, no other file. What all such pages
//! share: the frame (`document.html`, which a page's template extends), style, plots and policy.
//!
//! Names of processes and what they were called with come from whoever ran them. Templates escape
//! every text, the JSON has no character that HTML knows, and the policy of a page lets nothing run
//! or load but its own script and style.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256};

const STYLE: &[&str] =
    &[include_str!("../../vendor/uplot/uPlot.min.css"), include_str!("style.css")];
const SCRIPT: &[&str] = &[
    "\"use strict\";\n/*",
    include_str!("../../vendor/uplot/LICENSE"),
    "*/",
    include_str!("../../vendor/uplot/uPlot.iife.min.js"),
    include_str!("elements.js"),
    include_str!("plot.js"),
];

/// What a page has beside its text.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its title.
    pub title: String,
    /// What it may do: run this script, with this style (Content-Security-Policy).
    pub policy: String,
    /// Its style.
    pub style: String,
    /// Its script.
    pub script: String,
    /// What the script draws, in which nothing can end the element that it is in.
    pub json: String,
}

impl Document {
    /// A page of this title, which draws this JSON by these scripts, after the shared ones.
    pub fn new(title: String, json: &str, scripts: &[&str]) -> Self {
        let (style, script) = (style(), script(scripts));
        debug_assert!(
            [&style, &script].iter().all(|text| !text.contains("</") && !text.contains("<!--")),
            "a script or a style would end its element"
        );
        let policy = policy_of(&script, &style);
        Self { title, policy, style, script, json: embedded(json) }
    }
}

/// What a page with these scripts, after the shared ones, may do.
pub fn policy(scripts: &[&str]) -> String {
    policy_of(&script(scripts), &style())
}

fn policy_of(script: &str, style: &str) -> String {
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; base-uri \
         'none'; form-action 'none'",
        hash(script),
        hash(style)
    )
}

fn style() -> String {
    STYLE.join("\n")
}

fn script(own: &[&str]) -> String {
    [SCRIPT, own].concat().join("\n")
}

/// JSON in which nothing can end the element that it is in.
fn embedded(json: &str) -> String {
    // These are in strings alone.
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendored_files_are_those_that_their_note_names() {
        let note = include_str!("../../vendor/uplot/README.md");
        let script = include_str!("../../vendor/uplot/uPlot.iife.min.js");
        assert!(script.contains("uPlot (v1.6.32)") && note.starts_with("# uPlot 1.6.32"));
        for (name, text) in [
            ("LICENSE", include_str!("../../vendor/uplot/LICENSE")),
            ("uPlot.iife.min.js", script),
            ("uPlot.min.css", include_str!("../../vendor/uplot/uPlot.min.css")),
        ] {
            let digest: String =
                Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(note.contains(&format!("{digest}  {name}")), "{name}: {digest}");
        }
    }

    #[test]
    fn what_is_drawn_has_no_character_that_html_knows() {
        let json = r#"{"name":"</script><!--&amp;"}"#;
        let document = Document::new(String::new(), json, &[]);
        assert!(!document.json.contains(['<', '>', '&']), "{}", document.json);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&document.json), value(json));
    }
}
