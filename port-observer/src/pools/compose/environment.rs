//! The variables that a service gets: `environment`, and before it `env_file`.

use std::{io::ErrorKind, path::Path, rc::Rc, sync::Arc};

use super::{Reader, directory};
use crate::pools::{
    env::{self, Variables as OfFile},
    interpolation,
    problem::{Code, Place, Problem},
    variables::{self, Declaration, Scope},
    yaml::{Node, Value},
};

/// Files of variables of one service.
const MOST_FILES: usize = 16;

/// What a service says of its variables.
#[derive(Default)]
pub(super) struct Variables {
    pub(super) environment: Option<Rc<Node>>,
    pub(super) files: Option<Rc<Node>>,
}

/// A file of variables.
struct Wanted {
    path: String,
    is_required: bool,
    is_raw: bool,
    line: u32,
}

impl Reader<'_> {
    /// Takes in the variables of a service that tell something about pools.
    pub(super) fn environment(&mut self, service: &str, variables: &Variables) {
        if let Some(files) = &variables.files {
            let one = std::slice::from_ref(files);
            let items = if files.items().is_empty() { one } else { files.items() };
            for item in items.iter().take(MOST_FILES) {
                if let Some(wanted) = self.wanted(item) {
                    self.file_of(service, &wanted);
                }
            }
        }
        let Some(environment) = &variables.environment else { return };
        for item in environment.items() {
            let Some((name, value)) = item.text().map(|text| match text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (text, None),
            }) else {
                continue;
            };
            self.variable(service, name.trim(), value, item.line);
        }
        for entry in environment.entries() {
            let value = entry.value.text();
            self.variable(service, &entry.key, value, entry.line);
        }
    }

    fn variable(&mut self, service: &str, name: &str, value: Option<&str>, line: u32) {
        if !variables::is_read(name) {
            return;
        }
        let place = Place::new(self.file, line);
        let value = match value {
            // Handed on from where Compose runs.
            None => (self.lookup)(name),
            Some(value) => {
                let resolved = interpolation::resolve(value, self.lookup);
                env::say(name, &resolved, &place, self.problems);
                resolved.ok().map(|resolved| resolved.text)
            }
        };
        if let Some(value) = value.filter(|value| !value.trim().is_empty()) {
            let scope = Scope::Service(service.to_owned());
            self.declarations.push(Declaration { name: name.to_owned(), value, place, scope });
        }
    }

    fn wanted(&mut self, item: &Node) -> Option<Wanted> {
        let line = item.line;
        if let Value::Scalar { .. } = item.value {
            let path = self.scalar("env_file", item)?;
            return Some(Wanted { path, is_required: true, is_raw: false, line });
        }
        let mut text = |key: &str| item.get(key).and_then(|node| self.scalar("env_file", &node));
        let path = text("path")?;
        let is_required = text("required").as_deref() != Some("false");
        let is_raw = text("format").as_deref() == Some("raw");
        Some(Wanted { path, is_required, is_raw, line })
    }

    fn file_of(&mut self, service: &str, wanted: &Wanted) {
        let directory = directory(self.file);
        let path = Path::new(&directory).join(&wanted.path);
        let text = match (self.outside.read)(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !wanted.is_required => return,
            Err(error) => {
                let message = format!(
                    "the env_file {} of the service {service} can't be read: {error}",
                    path.display()
                );
                let place = Place::new(self.file, wanted.line);
                let problem = Problem::error(Code::InvalidFile, message, place);
                self.problems
                    .push(problem.fix("make it, or write `required: false` beside its path"));
                return;
            }
        };
        let name: Arc<str> = path.display().to_string().into();
        let found = match wanted.is_raw {
            true => OfFile::raw(&name, &text),
            false => OfFile::read(&name, &text, self.lookup, self.problems),
        };
        for mut one in Declaration::of_file(&found) {
            one.scope = Scope::Service(service.to_owned());
            self.declarations.push(one);
        }
    }
}
