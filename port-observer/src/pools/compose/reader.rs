//! One service, as one file has it.

use std::{rc::Rc, sync::Arc};

use super::{
    Network,
    definition::{Definition, Field},
    environment::Sources,
    ports,
    project::Loader,
};
use crate::pools::{
    env,
    interpolation::{self, Lookup},
    problem::{Code, Place, Problem},
    yaml::{Entry, Node, Tag, Value},
};

/// What the services of all files publish, in entries.
pub(super) const MOST_MAPPINGS: usize = 10_000;

/// A file, and how it is read.
#[derive(Clone, Copy)]
pub(super) struct Layer<'l> {
    pub(super) file: &'l Arc<str>,
    /// What its paths are relative to.
    pub(super) directory: &'l str,
    /// What references stand for.
    pub(super) lookup: Lookup<'l>,
}

impl Layer<'_> {
    pub(super) fn place(&self, line: u32) -> Place {
        Place::new(self.file, line)
    }
}

impl Loader<'_> {
    /// Reads a service, without what it extends.
    pub(super) fn own(&mut self, layer: Layer<'_>, name: &str, entry: &Entry) -> Definition {
        let mut found = Definition::new(layer.place(entry.line));
        let mut sources = Sources::default();
        for field in entry.value.entries() {
            let value = &field.value;
            match &*field.key {
                "container_name" => {
                    found.container_name = self.field(layer, "container_name", value);
                }
                "network_mode" => {
                    let mode = self.field(layer, "network_mode", value);
                    found.network = match mode {
                        Field::Set(mode) => Field::Set(network(&mode)),
                        Field::Reset => Field::Reset,
                        Field::Absent => Field::Absent,
                    };
                }
                "ports" => {
                    found.ports_line = Some(layer.place(field.line));
                    found.ports.replaces = value.tag.is_some();
                    if value.tag != Some(Tag::Reset) {
                        self.published(layer, name, value, &mut found);
                    }
                }
                "profiles" => {
                    found.profiles.replaces = value.tag.is_some();
                    if value.tag != Some(Tag::Reset) {
                        let items = value.items().iter();
                        found.profiles.list =
                            items.filter_map(|item| self.scalar(layer, "profiles", item)).collect();
                    }
                }
                "environment" => sources.environment = Some(field.value),
                "env_file" => sources.files = Some(field.value),
                _ => {}
            }
        }
        self.variables(layer, name, &sources, &mut found);
        found
    }

    fn field(&mut self, layer: Layer<'_>, what: &str, value: &Node) -> Field<String> {
        match value.tag {
            Some(Tag::Reset) => Field::Reset,
            tag => Field::of(tag, self.scalar(layer, what, value)),
        }
    }

    fn published(&mut self, layer: Layer<'_>, name: &str, node: &Rc<Node>, found: &mut Definition) {
        let items = node.items();
        if items.is_empty() && !node.is_null() && !matches!(node.value, Value::List(_)) {
            let message = format!("ports of the service {name} is no list");
            let place = layer.place(node.line);
            self.error(Code::InvalidPorts, message, place, "write - \"MIN-MAX:MIN-MAX\"");
        }
        for item in items {
            let place = layer.place(item.line);
            if !self.has_room(1, &place) {
                return;
            }
            let read = match &item.value {
                Value::Map(_) => {
                    let mut resolve = |node: &Node| self.scalar(layer, "ports", node);
                    ports::long(item, place.clone(), &mut resolve)
                }
                Value::Scalar { text, is_plain } => {
                    if *is_plain && ports::is_base_60(text) {
                        let message = format!(
                            "{text} without quotes is a number of base 60 for YAML 1.1, and no mapping"
                        );
                        let problem = Problem::warning(Code::Base60, message, place.clone());
                        self.problems.push(problem.fix(format!("write \"{text}\"")));
                    }
                    match self.scalar(layer, "ports", item) {
                        Some(text) => ports::short(&text, place.clone()),
                        None => continue,
                    }
                }
                Value::List(_) => Err("it is a list".to_owned()),
            };
            match read {
                Ok(mapping) => found.ports.list.push(mapping),
                Err(reason) => {
                    let message = format!("ports of the service {name}: {reason}");
                    let fix = "write \"[[IP:]HOST:]CONTAINER[/PROTOCOL]\", each a port or MIN-MAX, or the \
                               long syntax with target, published, protocol, host_ip, mode";
                    self.error(Code::InvalidPorts, message, place, fix);
                }
            }
        }
    }

    /// Counts entries of `ports`; whether there is room for them.
    pub(super) fn has_room(&mut self, count: usize, place: &Place) -> bool {
        self.mappings = self.mappings.saturating_add(count);
        if self.mappings > MOST_MAPPINGS {
            let message = format!("more than {MOST_MAPPINGS} ports: the others are left out");
            self.error(Code::TooMany, message, place.clone(), "publish ranges");
        }
        self.mappings <= MOST_MAPPINGS
    }

    /// The text of a scalar, with references resolved.
    pub(super) fn scalar(&mut self, layer: Layer<'_>, what: &str, node: &Node) -> Option<String> {
        let resolved = interpolation::resolve(node.text()?, layer.lookup);
        env::say(what, &resolved, &layer.place(node.line), self.problems);
        resolved.ok().map(|resolved| resolved.text)
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        message: impl Into<String>,
        place: Place,
        fix: &str,
    ) {
        self.problems.push(Problem::error(code, message, place).fix(fix));
    }
}

fn network(mode: &str) -> Network {
    match mode.split_once(':') {
        None if mode == "host" => Network::Host,
        None if mode == "none" => Network::None,
        Some(("service", name)) => Network::Service(name.to_owned()),
        Some(("container", name)) => Network::Container(name.to_owned()),
        _ => Network::Own,
    }
}
