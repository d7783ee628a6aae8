//! What services extend (05-services, `extends`).

use std::{rc::Rc, sync::Arc};

use super::{
    definition::{Definition, Merge},
    directory,
    project::{Loader, Project, is_remote, join, normal},
    reader::Layer,
};
use crate::pools::{
    problem::Code,
    variables::Scope,
    yaml::{Entry, Node, Tag, Value},
};

/// How many services may extend each other.
const MOST_HOPS: usize = 16;

impl Loader<'_> {
    /// A service with what it extends. `before`: the project, as far as earlier files go.
    pub(super) fn extended(
        &mut self,
        layer: Layer<'_>,
        entries: &[Entry],
        entry: &Entry,
        before: Option<&Project>,
        stack: &mut Vec<(String, String)>,
    ) -> Definition {
        let own = self.own(layer, &entry.key, entry);
        let Some(extends) = entry.value.entries().into_iter().find(|one| one.key == "extends")
        else {
            return own;
        };
        if extends.value.is_null() || extends.value.tag == Some(Tag::Reset) {
            return own;
        }
        stack.push((normal(layer.file), entry.key.clone()));
        let base = self.base(layer, entries, &extends, before, stack);
        stack.pop();
        let Some(mut base) = base else { return own };
        if !self.has_room(base.ports.list.len(), &own.place) {
            base.ports.list.clear();
        }
        let all = base.files.list.iter_mut().chain(&mut base.environment.list);
        all.for_each(|one| one.scope = Scope::Service(entry.key.clone()));
        base.merge(own, Merge::Extends)
    }

    /// What a service extends.
    fn base(
        &mut self,
        layer: Layer<'_>,
        entries: &[Entry],
        extends: &Entry,
        before: Option<&Project>,
        stack: &mut Vec<(String, String)>,
    ) -> Option<Definition> {
        let place = layer.place(extends.line);
        let text = |loader: &mut Self, node: Option<Rc<Node>>| {
            node.and_then(|node| loader.scalar(layer, "extends", &node))
        };
        let (service, file) = match &extends.value.value {
            Value::Scalar { .. } => (text(self, Some(extends.value.clone())), None),
            _ => {
                let service = extends.value.get("service");
                (text(self, service), text(self, extends.value.get("file")))
            }
        };
        let Some(service) = service else {
            let fix = "write `extends: {service: NAME}`, or with `file: PATH`";
            self.error(Code::InvalidFile, "extends names no service", place, fix);
            return None;
        };
        let (name, documents): (Arc<str>, _) = match &file {
            None => (layer.file.clone(), None),
            Some(file) if is_remote(file) => {
                self.unread("extends", file, place);
                return None;
            }
            Some(file) => {
                let path: Arc<str> = join(layer.directory, file).into();
                let what = "extends a service of the file";
                (path.clone(), Some(self.open(&path, what, &place)?))
            }
        };
        let key = (normal(&name), service.clone());
        if stack.contains(&key) || stack.len() >= MOST_HOPS {
            let way: Vec<&str> = stack.iter().map(|(_, service)| &**service).collect();
            let message = match stack.contains(&key) {
                true => format!("extends goes in a circle: {}, {service}", way.join(", ")),
                false => format!("extends goes over more than {MOST_HOPS} services"),
            };
            self.error(Code::InvalidFile, message, place, "take one `extends` out");
            return None;
        }
        let own_directory = directory(&name);
        let inner = match file {
            None => layer,
            // Paths in a file that is extended are relative to it.
            Some(_) => Layer { file: &name, directory: &own_directory, ..layer },
        };
        let others: Vec<Entry> = documents
            .iter()
            .flat_map(|documents| documents.iter())
            .filter_map(|document| document.get("services"))
            .flat_map(|services| services.entries())
            .collect();
        let all = if documents.is_some() { &others } else { entries };
        if let Some(entry) = all.iter().find(|one| one.key == service) {
            return Some(self.extended(inner, all, entry, None, stack));
        }
        // One of an earlier file of the project.
        let known = before.filter(|_| documents.is_none());
        if let Some(known) = known.and_then(|project| project.services.get(&service)) {
            return Some(known.clone());
        }
        let message = format!("extends the service {service}, which {name} has not");
        self.error(Code::InvalidFile, message, place, "name a service that is there");
        None
    }
}
