//! The variables that a service gets: `environment`, and before it `env_file`.

use std::{io::ErrorKind, path::Path, rc::Rc, sync::Arc};

use super::{
    definition::{Definition, Listed},
    project::Loader,
    reader::Layer,
};
use crate::pools::{
    env::{self, Variables as OfFile},
    interpolation,
    problem::{Code, Problem},
    variables::{self, Declaration, Scope},
    yaml::{Node, Tag, Value},
};

/// Files of variables of one service.
const MOST_FILES: usize = 16;

/// What a service says of its variables.
#[derive(Default)]
pub(super) struct Sources {
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

impl Loader<'_> {
    /// Takes in the variables of a service that tell something about pools.
    pub(super) fn variables(
        &mut self,
        layer: Layer<'_>,
        service: &str,
        sources: &Sources,
        found: &mut Definition,
    ) {
        if let Some(files) = &sources.files {
            found.files.replaces = files.tag.is_some();
            if files.tag != Some(Tag::Reset) {
                let one = std::slice::from_ref(files);
                let items = if files.items().is_empty() { one } else { files.items() };
                for item in items.iter().take(MOST_FILES) {
                    if let Some(wanted) = self.wanted(layer, item) {
                        self.file_of(layer, service, &wanted, &mut found.files);
                    }
                }
            }
        }
        let Some(environment) = &sources.environment else { return };
        found.environment.replaces = environment.tag.is_some();
        if environment.tag == Some(Tag::Reset) {
            return;
        }
        let mut all: Vec<(String, Option<String>, u32)> = Vec::new();
        for item in environment.items() {
            let Some(text) = item.text() else { continue };
            all.push(match text.split_once('=') {
                Some((name, value)) => (name.trim().to_owned(), Some(value.to_owned()), item.line),
                None => (text.trim().to_owned(), None, item.line),
            });
        }
        for entry in environment.entries() {
            if entry.value.tag == Some(Tag::Reset) {
                found.removed.push(entry.key);
                continue;
            }
            all.push((entry.key, entry.value.text().map(str::to_owned), entry.line));
        }
        for (name, value, line) in all {
            let declaration = self.variable(layer, service, &name, value.as_deref(), line);
            found.environment.list.extend(declaration);
        }
    }

    fn variable(
        &mut self,
        layer: Layer<'_>,
        service: &str,
        name: &str,
        value: Option<&str>,
        line: u32,
    ) -> Option<Declaration> {
        if !variables::is_read(name) {
            return None;
        }
        let place = layer.place(line);
        let value = match value {
            // Handed on from where Compose runs.
            None => (layer.lookup)(name),
            Some(value) => {
                let resolved = interpolation::resolve(value, layer.lookup);
                env::say(name, &resolved, &place, self.problems);
                resolved.ok().map(|resolved| resolved.text)
            }
        };
        let value = value.filter(|value| !value.trim().is_empty())?;
        let scope = Scope::Service(service.to_owned());
        Some(Declaration { name: name.to_owned(), value, place, scope })
    }

    fn wanted(&mut self, layer: Layer<'_>, item: &Node) -> Option<Wanted> {
        let line = item.line;
        if let Value::Scalar { .. } = item.value {
            let path = self.scalar(layer, "env_file", item)?;
            return Some(Wanted { path, is_required: true, is_raw: false, line });
        }
        let mut text =
            |key: &str| item.get(key).and_then(|node| self.scalar(layer, "env_file", &node));
        let path = text("path")?;
        let is_required = text("required").as_deref() != Some("false");
        let is_raw = text("format").as_deref() == Some("raw");
        Some(Wanted { path, is_required, is_raw, line })
    }

    fn file_of(
        &mut self,
        layer: Layer<'_>,
        service: &str,
        wanted: &Wanted,
        into: &mut Listed<Declaration>,
    ) {
        let path = Path::new(layer.directory).join(&wanted.path);
        let text = match (self.outside.read)(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && !wanted.is_required => return,
            Err(error) => {
                let message = format!(
                    "the env_file {} of the service {service} can't be read: {error}",
                    path.display()
                );
                let problem = Problem::error(Code::InvalidFile, message, layer.place(wanted.line));
                self.problems
                    .push(problem.fix("make it, or write `required: false` beside its path"));
                return;
            }
        };
        let name: Arc<str> = path.display().to_string().into();
        let found = match wanted.is_raw {
            true => OfFile::raw(&name, &text),
            false => OfFile::read(&name, &text, layer.lookup, self.problems),
        };
        for mut one in Declaration::of_file(&found) {
            one.scope = Scope::Service(service.to_owned());
            into.list.push(one);
        }
    }
}
