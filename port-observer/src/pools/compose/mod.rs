//! Files of Compose: what their services publish, which network they have, and which variables they get.

mod environment;
mod ports;

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

pub use ports::{Host, Mapping};

use super::{
    Outside, env,
    interpolation::{self, Lookup},
    problem::{Code, Place, Problem, Problems},
    variables::Declaration,
    yaml::{self, Node, Value},
};

/// Services of one file.
const MOST_SERVICES: usize = 1_000;
/// What the services of one file publish, in entries.
const MOST_MAPPINGS: usize = 10_000;

/// Which network a service has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// One of its own, or several.
    #[default]
    Own,
    /// That of the host.
    Host,
    /// That of another service.
    Service(String),
    /// That of a container.
    Container(String),
    /// None.
    None,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The name that its container is given.
    pub container_name: Option<String>,
    /// Its network.
    pub network: Network,
    /// What it publishes.
    pub mappings: Vec<Mapping>,
    /// Where it is.
    pub place: Place,
}

/// The services of a directory, by name: those of an override are joined to those of the file before.
pub type Services = BTreeMap<(String, String), Service>;

/// Reads a file.
pub struct Reader<'a> {
    file: &'a Arc<str>,
    lookup: Lookup<'a>,
    outside: &'a Outside<'a>,
    problems: &'a mut Problems,
    declarations: Vec<Declaration>,
    mappings: usize,
}

impl<'a> Reader<'a> {
    /// Reads a file; what is wrong with it is a problem. The variables that its services get are given
    /// back. `lookup`: what references stand for.
    pub fn read(
        file: &'a Arc<str>,
        text: &str,
        lookup: Lookup<'a>,
        outside: &'a Outside<'a>,
        services: &mut Services,
        problems: &'a mut Problems,
    ) -> Vec<Declaration> {
        let mut reader =
            Self { file, lookup, outside, problems, declarations: Vec::new(), mappings: 0 };
        match yaml::read(text) {
            Ok(documents) => documents.iter().for_each(|one| reader.document(one, services)),
            Err((line, reason)) => {
                let message = format!("this is no YAML: {reason}");
                reader.error(Code::InvalidFile, message, line, "see `docker compose config`");
            }
        }
        reader.declarations
    }

    fn document(&mut self, document: &Node, services: &mut Services) {
        if document.is_null() {
            return;
        }
        if !matches!(document.value, Value::Map(_)) {
            let message = "a file of Compose is a mapping with services";
            self.error(Code::InvalidFile, message, document.line, "see `docker compose config`");
            return;
        }
        for entry in document.entries() {
            match &*entry.key {
                "services" => self.services(&entry.value, services),
                "include" => self.unread("include", entry.line),
                _ => {}
            }
        }
    }

    fn services(&mut self, node: &Node, services: &mut Services) {
        let directory = directory(self.file);
        for (number, entry) in node.entries().into_iter().enumerate() {
            if number == MOST_SERVICES {
                let message =
                    format!("more than {MOST_SERVICES} services: the others are left out");
                self.error(Code::TooMany, message, entry.line, "split the file");
                return;
            }
            let found = self.service(&entry);
            let key = (directory.clone(), entry.key);
            let Some(known) = services.get_mut(&key) else {
                services.insert(key, found);
                continue;
            };
            known.container_name = found.container_name.or(known.container_name.take());
            if found.network != Network::Own {
                known.network = found.network;
            }
            known.mappings.extend(found.mappings);
        }
    }

    fn service(&mut self, entry: &yaml::Entry) -> Service {
        let mut service = Service {
            name: entry.key.clone(),
            container_name: None,
            network: Network::Own,
            mappings: Vec::new(),
            place: Place::new(self.file, entry.line),
        };
        let mut published = None;
        let mut variables = environment::Variables::default();
        for field in entry.value.entries() {
            match &*field.key {
                "container_name" => {
                    service.container_name = self.scalar("container_name", &field.value);
                }
                "network_mode" => {
                    let mode = self.scalar("network_mode", &field.value).unwrap_or_default();
                    service.network = network(&mode);
                }
                "ports" => {
                    published = Some(field.line);
                    self.published(&field.value, &mut service);
                }
                "environment" => variables.environment = Some(field.value),
                "env_file" => variables.files = Some(field.value),
                "extends" => self.unread("extends", field.line),
                _ => {}
            }
        }
        self.environment(&service.name, &variables);
        let shares = !matches!(service.network, Network::Own);
        if let Some(line) = published.filter(|_| shares && !service.mappings.is_empty()) {
            let message = format!(
                "the service {} publishes ports, which its network_mode excludes: it has no network of its own",
                service.name
            );
            let fix = match &service.network {
                Network::Service(name) | Network::Container(name) => {
                    format!("move its ports to the one whose network it shares: {name}")
                }
                _ => "leave ports out: what it binds is bound on the host".to_owned(),
            };
            self.error(Code::InvalidPorts, message, line, &fix);
            service.mappings.clear();
        }
        service
    }

    fn published(&mut self, node: &Rc<Node>, service: &mut Service) {
        let items = node.items();
        if items.is_empty() && !node.is_null() && !matches!(node.value, Value::List(_)) {
            let message = format!("ports of the service {} is no list", service.name);
            self.error(Code::InvalidPorts, message, node.line, "write - \"MIN-MAX:MIN-MAX\"");
        }
        for item in items {
            if self.mappings == MOST_MAPPINGS {
                let message = format!("more than {MOST_MAPPINGS} ports: the others are left out");
                self.error(Code::TooMany, message, item.line, "publish ranges");
                return;
            }
            self.mappings += 1;
            let place = Place::new(self.file, item.line);
            let read = match &item.value {
                Value::Map(_) => {
                    let mut resolve = |node: &Node| self.scalar("ports", node);
                    ports::long(item, place, &mut resolve)
                }
                Value::Scalar { text, is_plain } => {
                    if *is_plain && ports::is_base_60(text) {
                        let message = format!(
                            "{text} without quotes is a number of base 60 for YAML 1.1, and no mapping"
                        );
                        let problem = Problem::warning(Code::Base60, message, place.clone());
                        self.problems.push(problem.fix(format!("write \"{text}\"")));
                    }
                    match self.scalar("ports", item) {
                        Some(text) => ports::short(&text, place),
                        None => continue,
                    }
                }
                Value::List(_) => Err("it is a list".to_owned()),
            };
            match read {
                Ok(mapping) => service.mappings.push(mapping),
                Err(reason) => {
                    let message = format!("ports of the service {}: {reason}", service.name);
                    let fix = "write \"[[IP:]HOST:]CONTAINER[/PROTOCOL]\", each a port or MIN-MAX, or the \
                               long syntax with target, published, protocol, host_ip, mode";
                    self.error(Code::InvalidPorts, message, item.line, fix);
                }
            }
        }
    }

    /// The text of a scalar, with references resolved.
    fn scalar(&mut self, what: &str, node: &Node) -> Option<String> {
        let resolved = interpolation::resolve(node.text()?, self.lookup);
        let place = Place::new(self.file, node.line);
        env::say(what, &resolved, &place, self.problems);
        resolved.ok().map(|resolved| resolved.text)
    }

    fn error(&mut self, code: Code, message: impl Into<String>, line: u32, fix: &str) {
        let problem = Problem::error(code, message, Place::new(self.file, line));
        self.problems.push(problem.fix(fix));
    }

    fn unread(&mut self, what: &str, line: u32) {
        let message = format!("`{what}` is not followed: what it brings is not checked");
        let problem = Problem::warning(Code::NotRead, message, Place::new(self.file, line));
        self.problems.push(problem.fix("check what `docker compose config` writes"));
    }
}

/// The directory of a file, as it is named.
fn directory(file: &str) -> String {
    file.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned()
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
