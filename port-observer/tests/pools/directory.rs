//! A directory with files, and what `pools check` says of it.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

/// The JSON as a reader sees it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub pools: Vec<Pool>,
    pub problems: Vec<Problem>,
}

#[derive(Debug, Deserialize, PartialEq)]
pub struct Range {
    pub min: u16,
    pub max: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: String,
    pub range: Range,
    pub protocol: String,
    pub ports: u32,
    pub needed: Option<u64>,
    pub source: Source,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub file: String,
    pub line: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub severity: String,
    pub code: String,
    pub pools: Vec<String>,
    pub message: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub fix: Option<String>,
}

/// For who starts a process, or looks at who has a socket of this one: until it executes its program, a
/// child has all of them too.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files in a directory of their own.
pub struct Directory(tempfile::TempDir);

impl Directory {
    pub fn of(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_command("check", arguments)
    }

    fn run_command(&self, command: &str, arguments: &[&str]) -> Output {
        let _guard = alone();
        self.command(command, arguments).output().unwrap()
    }

    /// A command of `pools`, to be run in this directory, where its leases are too.
    pub fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_port-observer"));
        program
            .args(["pools", command])
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("STATE_DIRECTORY", self.path().join("state"));
        program
    }

    /// What a command of `pools` prints, and on standard error, with the exit code.
    pub fn told(&self, command: &str, arguments: &[&str]) -> (String, String, i32) {
        let output = self.run_command(command, arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap())
    }

    /// What `pools show` prints, with the exit code: text, and with `--json` an array.
    pub fn show(&self, arguments: &[&str]) -> (String, i32) {
        let output = self.run_command("show", arguments);
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code().unwrap())
    }

    /// The answer, and the exit code.
    pub fn check(&self, arguments: &[&str]) -> (Answer, i32) {
        let output = self.run(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let answer = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{:?}", output.stderr));
        (answer, output.status.code().unwrap())
    }
}

impl Answer {
    /// The errors: code, file and line.
    pub fn errors(&self) -> Vec<(&str, &str, u32)> {
        let errors = self.problems.iter().filter(|problem| problem.severity == "error");
        let place = |problem: &Problem| problem.line.unwrap_or(0);
        errors
            .map(|one| (&*one.code, one.file.as_deref().unwrap_or_default(), place(one)))
            .collect()
    }

    /// The one problem with this code.
    pub fn only(&self, code: &str) -> &Problem {
        let all: Vec<&Problem> = self.problems.iter().filter(|one| one.code == code).collect();
        assert_eq!(all.len(), 1, "{code}: {self:#?}");
        all[0]
    }
}
