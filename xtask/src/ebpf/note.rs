//! The note beside the committed object: what built it, from which sources.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::digest;
use super::toolchain::Toolchain;

/// What built an object, and from what.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// Each tool with its version: `compiler`, `cargo`, `linker`, `strip`.
    tools: Vec<(&'static str, String)>,
    /// SHA-256 of the sources, in hexadecimal.
    pub sources_sha256: String,
    /// SHA-256 of the object, in hexadecimal.
    pub object_sha256: String,
}

const TOOLS: [&str; 4] = ["compiler", "cargo", "linker", "strip"];

impl Note {
    /// The note for an object of this toolchain.
    ///
    /// # Errors
    /// When a source can't be read.
    pub fn new(root: &Path, toolchain: &Toolchain, object: &[u8]) -> Result<Self> {
        Ok(Self {
            tools: TOOLS.into_iter().zip(toolchain.versions()).collect(),
            sources_sha256: digest::sources(root)?,
            object_sha256: digest::sha256(object),
        })
    }

    /// Reads one.
    ///
    /// # Errors
    /// When the file can't be read, is not TOML, or lacks a field.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path);
        let text = text.with_context(|| format!("can't read the note {}", path.display()))?;
        Self::parse(&text).with_context(|| {
            format!("{} is not a note of cargo xtask ebpf; run that again", path.display())
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse()?;
        let field = |name: &str| {
            let value = table.get(name).and_then(|value| value.as_str());
            value.map(str::to_owned).with_context(|| format!("it has no `{name}`"))
        };
        let tools = TOOLS.into_iter().map(|name| Ok((name, field(name)?)));
        Ok(Self {
            tools: tools.collect::<Result<_>>()?,
            sources_sha256: field("sources_sha256")?,
            object_sha256: field("object_sha256")?,
        })
    }

    /// The note as it is committed.
    pub fn to_toml(&self) -> String {
        let mut text =
            "# Written by `cargo xtask ebpf`, which built the object beside it.\n".to_owned();
        let digests =
            [("sources_sha256", &self.sources_sha256), ("object_sha256", &self.object_sha256)];
        for (name, value) in self.tools.iter().map(|(name, value)| (*name, value)).chain(digests) {
            text += &format!("{name} = {}\n", toml::Value::String(value.clone()));
        }
        text
    }

    /// Which tools differ, a line each.
    pub fn toolchain_differences(&self, now: &Self) -> Vec<String> {
        let pairs = self.tools.iter().zip(&now.tools).filter(|(then, now)| then != now);
        pairs.map(|((tool, then), (_, now))| format!("{tool}: then {then}, now {now}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note {
            tools: TOOLS.into_iter().map(|tool| (tool, format!("{tool} \"1\""))).collect(),
            sources_sha256: "a".repeat(64),
            object_sha256: "b".repeat(64),
        }
    }

    #[test]
    fn a_note_is_read_back_as_it_was_written() {
        assert_eq!(Note::parse(&note().to_toml()).unwrap(), note());
    }

    #[test]
    fn a_note_that_lacks_a_field_is_refused_by_its_name() {
        let text = note().to_toml().replace("linker", "binder");
        assert_eq!(Note::parse(&text).unwrap_err().to_string(), "it has no `linker`");
    }

    #[test]
    fn another_version_of_one_tool_is_another_toolchain() {
        let mut other = note();
        other.tools[2].1 = "other".to_owned();
        assert_eq!(note().toolchain_differences(&note()), [""; 0]);
        assert_eq!(note().toolchain_differences(&other), ["linker: then linker \"1\", now other"]);
    }
}
