//! YAML within bounds: the home of the YAML parser. It gives maps, lists and texts with aliases and merge keys resolved,
//! and knows nothing of compose.
//!
//! An alias shares what it refers to, so a small file cannot fill the memory; what it would expand to is counted all
//! the same, because whoever walks the tree pays for that.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use crate::limits;

/// A map, list or text, and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    /// A tag that means more than "this is a text, list or map", such as compose's own `!reset`.
    pub(super) tagged: bool,
    /// Nodes in it, itself included, with every alias counted in full.
    weight: usize,
    /// Levels below it.
    height: usize,
}

#[derive(Debug)]
pub(super) enum Content {
    /// `plain`: without quotes, so it may be a number or null as well.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Map),
}

/// The entries of a map, merge keys resolved.
pub(super) type Map = BTreeMap<Rc<str>, Rc<Node>>;

/// Why a file is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadFile {
    /// More bytes than a compose file has.
    TooLarge,
    /// Lists and maps within each other.
    TooDeep(usize),
    /// Values, aliases counted in full.
    TooMany(usize),
    /// No YAML.
    Syntax(usize, String),
    /// Nothing in it.
    Empty,
    /// Several documents, which compose merges.
    Documents(usize),
    /// A key twice in one map.
    Duplicate(usize, String),
    /// A key that is a list or map, has a tag, or is longer than any name.
    Key(usize),
    /// `<<` with something that is neither a map nor a list of maps.
    Merge(usize),
    /// An alias within what it refers to.
    Alias(usize),
}

/// Reads the one document of a file. `value` is told every text that is a value, once, whatever aliases repeat it.
pub(super) fn read(file: &str, value: &mut dyn FnMut(&str)) -> Result<Rc<Node>, BadFile> {
    if file.len() > limits::COMPOSE_FILE_MAX {
        return Err(BadFile::TooLarge);
    }
    let mut composer = Composer {
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        value,
    };
    let mut parser = Parser::new_from_str(file.strip_prefix('\u{feff}').unwrap_or(file));
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(syntax)?;
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) if composer.root.is_some() => {
                return Err(BadFile::Documents(line));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
            Event::Alias(anchor) => {
                let node = composer.anchors.get(&anchor).ok_or(BadFile::Alias(line))?;
                composer.add(Rc::clone(node), false, line)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let text = text.into_owned();
                composer.close(
                    Content::Text { text, plain },
                    is_special(tag.as_deref()),
                    anchor,
                    line,
                )?;
            }
            Event::SequenceStart(anchor, tag) => {
                composer.begin(
                    Building::List(Vec::new()),
                    is_special(tag.as_deref()),
                    anchor,
                    line,
                )?;
            }
            Event::MappingStart(anchor, tag) => {
                composer.begin(
                    Building::Map(MapBuilder::default()),
                    is_special(tag.as_deref()),
                    anchor,
                    line,
                )?;
            }
            Event::SequenceEnd | Event::MappingEnd => composer.end()?,
        }
    }
    composer.root.ok_or(BadFile::Empty)
}

fn syntax(error: ScanError) -> BadFile {
    BadFile::Syntax(error.marker().line(), error.info().to_owned())
}

fn is_special(tag: Option<&Tag>) -> bool {
    tag.is_some_and(|tag| {
        !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "str" | "seq" | "map"))
    })
}

/// A list or map whose end is still to come.
struct Open {
    building: Building,
    tagged: bool,
    anchor: usize,
    line: usize,
    weight: usize,
    height: usize,
}

enum Building {
    List(Vec<Rc<Node>>),
    Map(MapBuilder),
}

#[derive(Default)]
struct MapBuilder {
    map: Map,
    key: Option<Key>,
    merge: Option<(usize, Rc<Node>)>,
}

enum Key {
    Name(Rc<str>),
    Merge,
}

struct Composer<'v> {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    value: &'v mut dyn FnMut(&str),
}

impl Composer<'_> {
    fn begin(
        &mut self,
        building: Building,
        tagged: bool,
        anchor: usize,
        line: usize,
    ) -> Result<(), BadFile> {
        if self.open.len() >= limits::COMPOSE_DEPTH {
            return Err(BadFile::TooDeep(line));
        }
        self.open.push(Open {
            building,
            tagged,
            anchor,
            line,
            weight: 1,
            height: 1,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadFile> {
        let Some(Open {
            building,
            tagged,
            anchor,
            line,
            weight,
            height,
        }) = self.open.pop()
        else {
            return Ok(());
        };
        let content = match building {
            Building::List(list) => Content::List(list),
            Building::Map(builder) => Content::Map(builder.finish()?),
        };
        self.keep(
            Node {
                content,
                tagged,
                weight,
                height,
            },
            anchor,
            line,
        )
    }

    fn close(
        &mut self,
        content: Content,
        tagged: bool,
        anchor: usize,
        line: usize,
    ) -> Result<(), BadFile> {
        self.keep(
            Node {
                content,
                tagged,
                weight: 1,
                height: 1,
            },
            anchor,
            line,
        )
    }

    fn keep(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), BadFile> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node, true, line)
    }

    /// Puts a complete node where it belongs. `new`: it stands here itself, not an alias of it.
    fn add(&mut self, node: Rc<Node>, new: bool, line: usize) -> Result<(), BadFile> {
        let depth = self.open.len();
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight = parent.weight.saturating_add(node.weight);
        parent.height = parent.height.max(node.height.saturating_add(1));
        if parent.weight > limits::COMPOSE_NODES {
            return Err(BadFile::TooMany(line));
        }
        if depth.saturating_add(node.height) > limits::COMPOSE_DEPTH.saturating_add(1) {
            return Err(BadFile::TooDeep(line));
        }
        let is_value = match &mut parent.building {
            Building::List(list) => {
                list.push(Rc::clone(&node));
                true
            }
            Building::Map(builder) => builder.add(Rc::clone(&node), line)?,
        };
        if let (true, true, Content::Text { text, .. }) = (new, is_value, &node.content) {
            (self.value)(text);
        }
        Ok(())
    }
}

impl MapBuilder {
    /// Takes a key or, after a key, its value; true for a value.
    fn add(&mut self, node: Rc<Node>, line: usize) -> Result<bool, BadFile> {
        match self.key.take() {
            None => {
                let Content::Text { text, plain } = &node.content else {
                    return Err(BadFile::Key(line));
                };
                if node.tagged || text.len() > limits::COMPOSE_KEY_MAX {
                    return Err(BadFile::Key(line));
                }
                let merge = *plain && text == "<<";
                if merge && self.merge.is_some() || self.map.contains_key(text.as_str()) {
                    return Err(BadFile::Duplicate(line, text.clone()));
                }
                self.key = Some(if merge {
                    Key::Merge
                } else {
                    Key::Name(Rc::from(text.as_str()))
                });
                return Ok(false);
            }
            Some(Key::Name(name)) => {
                self.map.insert(name, node);
            }
            Some(Key::Merge) => self.merge = Some((line, node)),
        }
        Ok(true)
    }

    /// Merges what `<<` names: keys of the map itself win, then those of the first map in a list.
    fn finish(mut self) -> Result<Map, BadFile> {
        let Some((line, merge)) = self.merge else {
            return Ok(self.map);
        };
        let sources = match &merge.content {
            Content::Map(_) => std::slice::from_ref(&merge),
            Content::List(sources) => sources,
            Content::Text { .. } => return Err(BadFile::Merge(line)),
        };
        for source in sources {
            let Content::Map(entries) = &source.content else {
                return Err(BadFile::Merge(line));
            };
            if merge.tagged || source.tagged {
                return Err(BadFile::Merge(line));
            }
            for (name, node) in entries {
                self.map
                    .entry(Rc::clone(name))
                    .or_insert_with(|| Rc::clone(node));
            }
        }
        Ok(self.map)
    }
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = |f: &mut fmt::Formatter<'_>, what: &str| {
            write!(f, "the compose file {what}; split the stack")
        };
        match self {
            BadFile::TooLarge => bounds(
                f,
                &format!("has more than {} bytes", limits::COMPOSE_FILE_MAX),
            ),
            BadFile::TooMany(line) => bounds(
                f,
                &format!(
                    "has more than {} values by line {line}, aliases counted in full",
                    limits::COMPOSE_NODES
                ),
            ),
            BadFile::TooDeep(line) => bounds(
                f,
                &format!(
                    "is nested more than {} levels deep in line {line}",
                    limits::COMPOSE_DEPTH
                ),
            ),
            BadFile::Empty => f.write_str("the compose file is empty; add services"),
            BadFile::Documents(line) => {
                write!(
                    f,
                    "the compose file has a second document in line {line}; put everything into one"
                )
            }
            BadFile::Syntax(line, what) => mend(f, *line, what),
            BadFile::Duplicate(line, key) => mend(
                f,
                *line,
                &format!("the key \"{}\" is there twice", shown(key)),
            ),
            BadFile::Key(line) => mend(f, *line, "a key is not a short text"),
            BadFile::Merge(line) => mend(f, *line, "\"<<\" needs a map or a list of maps"),
            BadFile::Alias(line) => mend(f, *line, "an alias stands within what it refers to"),
        }
    }
}

fn mend(f: &mut fmt::Formatter<'_>, line: usize, what: &str) -> fmt::Result {
    write!(
        f,
        "the compose file does not parse: line {line}: {}; mend it in Portainer",
        shown(what)
    )
}

/// A word of the file, short and without signs that disturb a terminal.
pub(super) fn shown(word: &str) -> String {
    let mut shown = String::new();
    for sign in word.chars().take(80) {
        match sign {
            '"' | '\'' | '\\' => shown.push(sign),
            _ => shown.extend(sign.escape_debug()),
        }
    }
    shown
}
