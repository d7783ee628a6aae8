//! Cargo, and what it says about what it built.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{output, shown, workspace};

/// An executable that cargo built.
pub struct Executable {
    /// The target's name.
    pub name: String,
    /// `bin` or `test`.
    pub kind: String,
    /// Where it is.
    pub path: PathBuf,
}

/// The cargo that runs this program, in the workspace's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds, with cargo's own messages to standard error, and returns the executables.
///
/// # Errors
/// When cargo can't be started, fails, or names an executable in a way not understood.
pub fn build(command: &mut Command) -> Result<Vec<Executable>> {
    command.arg("--message-format=json-render-diagnostics");
    let built = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start `{}`", shown(command)))?;
    if !built.status.success() {
        bail!("`{}` failed: {}", shown(command), built.status);
    }
    let mut executables = Vec::new();
    for line in String::from_utf8_lossy(&built.stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
        let Some(path) = message["executable"].as_str() else { continue };
        let target = &message["target"];
        executables.push(Executable {
            name: target["name"].as_str().context("cargo names no target")?.to_owned(),
            kind: target["kind"][0].as_str().context("cargo names no target kind")?.to_owned(),
            path: path.into(),
        });
    }
    Ok(executables)
}

/// The workspace's integration tests: package and name.
///
/// # Errors
/// When `cargo metadata` fails.
pub fn test_targets() -> Result<Vec<(String, String)>> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("can't read cargo metadata")?;
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut tests = Vec::new();
    for package in array(&metadata["packages"]) {
        for target in array(&package["targets"]) {
            if target["kind"][0] == "test" {
                tests.push((text(&package["name"]), text(&target["name"])));
            }
        }
    }
    Ok(tests)
}
