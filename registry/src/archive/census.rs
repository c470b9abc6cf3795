//! All that a tree holds, so that each further entry is judged against it: what stands in the way of what, what two
//! hosts would take for one, and where links lead.

use std::collections::{HashMap, VecDeque};

use unicode_normalization::UnicodeNormalization;

use super::{
    path::TreePath,
    rule::{LinkFault, Rule, escaped},
};

/// Most links that one path leads over, as the kernel has it.
const MAX_HOPS: usize = 40;
const TOP: u32 = 0;

/// What is there so far. Memory is bounded by the entries: each part of a path is held once.
#[derive(Debug)]
pub(super) struct Census {
    nodes: Vec<Node>,
    /// By what holds it, and its name as a host that minds neither case nor composition would see it.
    children: HashMap<(u32, Box<str>), u32>,
}

#[derive(Debug)]
struct Node {
    parent: u32,
    name: Box<str>,
    /// The entry that made it.
    number: u64,
    what: What,
}

/// A link that leads out, or in a circle.
#[derive(Debug)]
pub(super) struct Astray {
    /// The entry that made it.
    pub(super) number: u64,
    /// Its path, escaped.
    pub(super) path: String,
    pub(super) rule: Rule,
}

/// What stands under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A directory that a path only implied.
    Implied,
    Directory,
    File,
    Link(Box<str>),
}

impl Default for Census {
    fn default() -> Self {
        let top = Node { parent: TOP, name: "".into(), number: 0, what: What::Directory };
        Self { nodes: vec![top], children: HashMap::new() }
    }
}

impl Census {
    /// How many things there are.
    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64 - 1
    }

    /// Takes in what entry `number` puts under a path.
    pub(super) fn add(&mut self, number: u64, path: &TreePath, what: What) -> Result<(), Rule> {
        let mut at = TOP;
        let mut parts = path.parts().peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let key = (at, fold(part));
            let Some(&known) = self.children.get(&key) else {
                at = self.push(key, part, number, if last { what.clone() } else { What::Implied });
                continue;
            };
            let node = &self.nodes[known as usize];
            let clash = match &node.what {
                _ if *node.name != *part => Some("is, on some hosts, the same as"),
                What::Link(_) if !last => Some("would be written through the link of"),
                What::File if !last => Some("would lie below the file of"),
                _ if !last => None,
                What::Implied if what == What::Directory => None,
                What::Link(_) if what == What::Directory => Some("is a directory over the link of"),
                What::File if what == What::Directory => Some("is a directory over the file of"),
                What::Implied | What::Directory if what != What::Directory => Some("stands over the directory of"),
                _ => Some("has the same path as"),
            };
            if let Some(clash) = clash {
                return Err(Rule::Clash { clash, number: node.number, path: escaped(self.path(known).as_bytes()) });
            }
            at = known;
            if last {
                self.nodes[known as usize].what = What::Directory;
            }
        }
        Ok(())
    }

    fn push(&mut self, key: (u32, Box<str>), name: &str, number: u64, what: What) -> u32 {
        // The limit of entries lies far below.
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { parent: key.0, name: name.into(), number, what });
        self.children.insert(key, id);
        id
    }

    /// Checks that an earlier entry is a regular file under exactly that path.
    pub(super) fn regular_file(&self, path: &TreePath) -> Result<(), LinkFault> {
        let mut at = TOP;
        for part in path.parts() {
            at = self.child(at, part).ok_or(LinkFault::Missing)?;
        }
        if self.nodes[at as usize].what == What::File { Ok(()) } else { Err(LinkFault::NoFile) }
    }

    /// Follows every link, as a host would, and gives back the first that goes astray. `tick` is asked before each.
    pub(super) fn follow<E>(&self, mut tick: impl FnMut() -> Result<(), E>) -> Result<Option<Astray>, E> {
        for (id, node) in (0_u32..).zip(&self.nodes) {
            let What::Link(target) = &node.what else { continue };
            tick()?;
            if let Err(fault) = self.resolve(node.parent, target) {
                let rule = Rule::Link { target: escaped(target.as_bytes()), fault };
                return Ok(Some(Astray { number: node.number, path: escaped(self.path(id).as_bytes()), rule }));
            }
        }
        Ok(None)
    }

    fn resolve(&self, from: u32, target: &str) -> Result<(), LinkFault> {
        let mut at = from;
        // How far below `at` the way has come where nothing is.
        let mut nowhere = 0_usize;
        let mut hops = 0;
        let mut ahead: VecDeque<&str> = target.split('/').collect();
        while let Some(part) = ahead.pop_front() {
            match part {
                "" | "." => {}
                ".." if nowhere > 0 => nowhere -= 1,
                ".." if at == TOP => return Err(LinkFault::Leaves),
                ".." => at = self.nodes[at as usize].parent,
                _ if nowhere > 0 => nowhere += 1,
                _ => match self.child(at, part).map(|id| (id, &self.nodes[id as usize].what)) {
                    None => nowhere = 1,
                    Some((id, What::Directory | What::Implied | What::File)) => at = id,
                    Some((_, What::Link(target))) => {
                        hops += 1;
                        if hops > MAX_HOPS {
                            return Err(LinkFault::Loop);
                        }
                        for part in target.rsplit('/') {
                            ahead.push_front(part);
                        }
                    }
                },
            }
        }
        Ok(())
    }

    /// What stands under exactly that name.
    fn child(&self, at: u32, name: &str) -> Option<u32> {
        let id = *self.children.get(&(at, fold(name)))?;
        (*self.nodes[id as usize].name == *name).then_some(id)
    }

    fn path(&self, id: u32) -> String {
        let mut parts = Vec::new();
        let mut at = id;
        while at != TOP {
            let node = &self.nodes[at as usize];
            parts.push(&*node.name);
            at = node.parent;
        }
        parts.reverse();
        parts.join("/")
    }
}

/// A name as a host sees it that minds neither case nor how a character is composed.
fn fold(name: &str) -> Box<str> {
    if name.is_ascii() {
        return name.to_ascii_lowercase().into();
    }
    let upper: String = name.nfd().flat_map(char::to_uppercase).collect();
    upper.chars().flat_map(char::to_lowercase).nfd().collect::<String>().into()
}
