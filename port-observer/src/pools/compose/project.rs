//! The files of projects: what services extend, what files after one another say, what they include.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Component, Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use super::{
    Network, Service, Services,
    definition::{Definition, Merge},
    directory,
    include::Include,
    reader::Layer,
};
use crate::pools::{
    Outside,
    interpolation::Lookup,
    problem::{Code, Place, Problem, Problems},
    variables::Declaration,
    yaml::{self, Node, Tag, Value},
};

/// Services of one file.
const MOST_SERVICES: usize = 1_000;
/// Files that others lead to, and bytes of them.
const MOST_FILES: usize = 200;
const MOST_BYTES: usize = 16 << 20;

/// A file of Compose.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// As it was named.
    pub name: &'a Arc<str>,
    /// What is in it.
    pub text: &'a str,
    /// The directory that its project is in; `None`: its own.
    pub project: Option<&'a str>,
}

/// Reads files and what they lead to.
pub(super) struct Loader<'a> {
    pub(super) outside: &'a Outside<'a>,
    pub(super) problems: &'a mut Problems,
    pub(super) declarations: Vec<Declaration>,
    pub(super) mappings: usize,
    files: usize,
    bytes: usize,
    documents: HashMap<String, Rc<Vec<Rc<Node>>>>,
}

/// The services of one project, by name, and what it includes.
#[derive(Default)]
pub(super) struct Project {
    pub(super) services: BTreeMap<String, Definition>,
    includes: Vec<Include>,
}

/// Reads files, those of one directory as one project in which a later file is merged into those before. What
/// is wrong with them is a problem. The variables that services get are given back. `lookup`: what references
/// stand for.
pub fn read(
    files: &[File<'_>],
    lookup: Lookup<'_>,
    outside: &Outside<'_>,
    services: &mut Services,
    problems: &mut Problems,
) -> Vec<Declaration> {
    let documents = HashMap::new();
    let declarations = Vec::new();
    let mut loader =
        Loader { outside, problems, declarations, mappings: 0, files: 0, bytes: 0, documents };
    let mut projects: Vec<(String, Project)> = Vec::new();
    for file in files {
        let directory = file.project.map_or_else(|| directory(file.name), str::to_owned);
        let at = projects.iter().position(|(one, _)| *one == directory);
        let at = at.unwrap_or_else(|| {
            projects.push((directory.clone(), Project::default()));
            projects.len() - 1
        });
        let documents = loader.parse(file.name, file.text);
        let layer = Layer { file: file.name, directory: &directory, lookup };
        loader.file(layer, &documents, &mut projects[at].1);
    }
    for (directory, project) in projects {
        let mut stack: Vec<String> = files.iter().map(|file| normal(file.name)).collect();
        let found = loader.with_includes(project, lookup, &mut stack);
        loader.finish(directory, found, lookup, services);
    }
    loader.declarations
}

impl Loader<'_> {
    /// The documents of a file; none, where it makes no sense.
    fn parse(&mut self, file: &Arc<str>, text: &str) -> Rc<Vec<Rc<Node>>> {
        match yaml::read(text) {
            Ok(documents) => Rc::new(documents),
            Err((line, reason)) => {
                let message = format!("this is no YAML: {reason}");
                let place = Place::new(file, line);
                self.error(Code::InvalidFile, message, place, "see `docker compose config`");
                Rc::default()
            }
        }
    }

    /// The documents of a file that another one names at `from`.
    pub(super) fn open(
        &mut self,
        file: &Arc<str>,
        what: &str,
        from: &Place,
    ) -> Option<Rc<Vec<Rc<Node>>>> {
        self.files += 1;
        if self.files > MOST_FILES || self.bytes > MOST_BYTES {
            let message = "more files lead to each other than are read: others are left out";
            self.error(Code::TooMany, message, from.clone(), "see `docker compose config`");
            return None;
        }
        if let Some(known) = self.documents.get(&**file) {
            return Some(known.clone());
        }
        match (self.outside.read)(Path::new(&**file)) {
            Ok(text) => {
                self.bytes += text.len();
                let found = self.parse(file, &text);
                self.documents.insert((**file).to_owned(), found.clone());
                Some(found)
            }
            Err(error) => {
                let message = format!("{what} {file}, which can't be read: {error}");
                let fix =
                    "name a file that is there: its path is relative to the file that names it";
                self.error(Code::InvalidFile, message, from.clone(), fix);
                None
            }
        }
    }

    /// Adds what a file says to its project.
    pub(super) fn file(&mut self, layer: Layer<'_>, documents: &[Rc<Node>], project: &mut Project) {
        for document in documents.iter().filter(|one| !one.is_null()) {
            if !matches!(document.value, Value::Map(_)) {
                let message = "a file of Compose is a mapping with services";
                let place = layer.place(document.line);
                self.error(Code::InvalidFile, message, place, "see `docker compose config`");
                continue;
            }
            for entry in document.entries() {
                match &*entry.key {
                    "services" => self.services(layer, &entry.value, project),
                    "include" => {
                        let found = self.includes(layer, &entry.value);
                        project.includes.extend(found);
                    }
                    _ => {}
                }
            }
        }
    }

    fn services(&mut self, layer: Layer<'_>, node: &Node, project: &mut Project) {
        let entries = node.entries();
        for (number, entry) in entries.iter().enumerate() {
            if number == MOST_SERVICES {
                let message =
                    format!("more than {MOST_SERVICES} services: the others are left out");
                let place = layer.place(entry.line);
                self.error(Code::TooMany, message, place, "split the file");
                return;
            }
            if entry.value.tag == Some(Tag::Reset) {
                project.services.remove(&entry.key);
                continue;
            }
            let mut stack = Vec::new();
            let found = self.extended(layer, &entries, entry, Some(project), &mut stack);
            let before = project.services.remove(&entry.key);
            let before = before.filter(|_| entry.value.tag != Some(Tag::Override));
            let found = match before {
                Some(before) => before.merge(found, Merge::Files),
                None => found,
            };
            project.services.insert(entry.key.clone(), found);
        }
    }

    /// Adds what a project includes: services that it has itself stay its own.
    pub(super) fn with_includes(
        &mut self,
        mut project: Project,
        lookup: Lookup<'_>,
        stack: &mut Vec<String>,
    ) -> Project {
        for include in std::mem::take(&mut project.includes) {
            let place = include.place.clone();
            let Some(found) = self.included(&include, lookup, stack) else { continue };
            for (name, definition) in found.services {
                if let Some(known) = project.services.get(&name) {
                    let message = format!(
                        "includes the service {name} ({}), which is there already ({}): include does not \
                         merge",
                        definition.place, known.place
                    );
                    let problem = Problem::error(Code::InvalidFile, message, place.clone());
                    let fix = "give one another name, or list an override in `path` of the include";
                    self.problems.push(problem.fix(fix));
                    continue;
                }
                project.services.insert(name, definition);
            }
        }
        project
    }

    /// Reads the files of an include, with files of variables of its own.
    fn included(
        &mut self,
        include: &Include,
        lookup: Lookup<'_>,
        stack: &mut Vec<String>,
    ) -> Option<Project> {
        let normals: Vec<String> = include.paths.iter().map(|path| normal(path)).collect();
        if let Some(known) = normals.iter().find(|path| stack.contains(path)) {
            let message = format!("include goes in a circle: {known} is read already");
            let place = include.place.clone();
            self.error(Code::InvalidFile, message, place, "take one `include` out");
            return None;
        }
        if stack.len() > MOST_FILES {
            let message = "include goes too deep: the others are left out";
            self.error(Code::TooMany, message, include.place.clone(), "include fewer files");
            return None;
        }
        let set = self.variables_of(include, lookup);
        let inner = |name: &str| lookup(name).or_else(|| set.get(name).cloned());
        let mut project = Project::default();
        for path in &include.paths {
            let name: Arc<str> = path.as_str().into();
            let documents = self.open(&name, "includes", &include.place)?;
            let layer = Layer { file: &name, directory: &include.directory, lookup: &inner };
            self.file(layer, &documents, &mut project);
        }
        let depth = stack.len();
        stack.extend(normals);
        let project = self.with_includes(project, &inner, stack);
        stack.truncate(depth);
        Some(project)
    }

    /// Adds the services of a project to those that are known.
    fn finish(
        &mut self,
        directory: String,
        project: Project,
        lookup: Lookup<'_>,
        services: &mut Services,
    ) {
        let active = lookup("COMPOSE_PROFILES").unwrap_or_default();
        let is_active =
            |name: &String| active.split(',').map(str::trim).any(|one| one == "*" || one == name);
        for (name, found) in project.services {
            self.declarations.extend(found.variables().cloned());
            let mut service = Service {
                name: name.clone(),
                container_name: found.container_name.value(),
                network: found.network.value().unwrap_or_default(),
                mappings: found.ports.list,
                is_inactive: !found.profiles.list.is_empty()
                    && !found.profiles.list.iter().any(is_active),
                profiles: found.profiles.list,
                place: found.place,
            };
            self.excluded(&mut service, found.ports_line);
            services.insert((directory.clone(), name), service);
        }
    }

    /// Ports of a service that has no network of its own.
    fn excluded(&mut self, service: &mut Service, ports: Option<Place>) {
        if service.network == Network::Own || service.mappings.is_empty() {
            return;
        }
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
        let place = ports.unwrap_or_else(|| service.place.clone());
        self.error(Code::InvalidPorts, message, place, &fix);
        service.mappings.clear();
    }

    /// Something that is not on this machine.
    pub(super) fn unread(&mut self, what: &str, path: &str, place: Place) {
        let message = format!(
            "`{what}` of {path} is not followed, which is not on this machine: what it brings is not checked"
        );
        let problem = Problem::warning(Code::NotRead, message, place);
        self.problems.push(problem.fix("check what `docker compose config` writes"));
    }
}

/// Whether Compose fetches it.
pub(super) fn is_remote(path: &str) -> bool {
    path.contains("://") || path.starts_with("git@") || path.starts_with("oci:")
}

/// A path in a directory.
pub(super) fn join(directory: &str, path: &str) -> String {
    normal(&Path::new(directory).join(path).display().to_string())
}

/// A path without `.` and `..`, by its names alone, as Compose has it.
pub(super) fn normal(path: &str) -> String {
    let mut found = PathBuf::new();
    for one in Path::new(path).components() {
        match one {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(found.components().next_back(), Some(Component::Normal(_))) =>
            {
                found.pop();
            }
            other => found.push(other),
        }
    }
    found.display().to_string()
}
