//! Reads YAML within limits into maps, lists and texts, with aliases and merge keys resolved. The meaning of the values
//! for compose is left to [`super`].
//!
//! The parser is a port of libyaml, as is the one that compose uses. An alias shares the node that it refers to, so a
//! small file cannot fill the memory; its expanded size counts against the limit, because walking the tree costs that.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use libyaml_safer::{EventData, Mark, Parser, ScalarStyle, VersionDirective};

use crate::limits;

/// A key of a compose file (bytes); YAML itself permits longer ones only with a special character.
const COMPOSE_KEY_MAX: usize = 1024;

/// Values in a compose file, aliases counted in full; a stack of a hundred services has a few thousand.
const COMPOSE_NODES: usize = 100_000;

/// A map, list or text.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: NodeContent,
    /// It has a tag other than those of texts, lists and maps, such as compose's own `!reset`.
    pub(super) tagged: bool,
    /// Number of nodes including itself, with aliases expanded.
    weight: usize,
    /// Levels below it.
    height: usize,
}

#[derive(Debug)]
pub(super) enum NodeContent {
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

/// A file that is not valid YAML, or beyond the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum YamlError {
    /// More bytes than the limit.
    TooLarge,
    /// Too many lists and maps within each other.
    TooDeep(usize),
    /// Too many values, with aliases expanded.
    TooMany(usize),
    /// Invalid YAML: the line and the problem.
    Syntax(usize, String),
    /// The parser cannot read it.
    Parser,
    /// The file has no document.
    Empty,
    /// Several documents, which compose merges.
    Documents(usize),
    /// A key twice in one map.
    Duplicate(usize, String),
    /// A key that is a list, a map, a number, a boolean or null.
    Key(usize),
    /// A key that has a tag or is longer than any name.
    LongKey(usize),
    /// A `%YAML` directive for another version than 1.1.
    Version(usize),
    /// `<<` with something that is neither a map nor a list of maps.
    Merge(usize),
    /// An alias without an anchor before it, or within the node that it refers to.
    Alias(usize),
}

/// Reads the only document of a file.
///
/// Errors: invalid YAML, or a file beyond the limits.
pub(super) fn read(file: &str) -> Result<Rc<Node>, YamlError> {
    if file.len() > limits::COMPOSE_FILE_MAX {
        return Err(YamlError::TooLarge);
    }
    // The parser panics where some constructs meet the end of the file; a line break at the end avoids the common ones.
    let text = match file.ends_with('\n') {
        true => Cow::Borrowed(file),
        false => Cow::Owned(format!("{file}\n")),
    };
    catch_unwind(AssertUnwindSafe(|| parse_document(&text))).unwrap_or(Err(YamlError::Parser))
}

fn parse_document(file: &str) -> Result<Rc<Node>, YamlError> {
    let mut bytes = file.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut composer = Composer::default();
    loop {
        let event = parser.parse().map_err(|error| syntax(&error, file))?;
        let line = line_of(event.start_mark);
        match event.data {
            EventData::StreamStart { .. } | EventData::DocumentEnd { .. } => {}
            EventData::StreamEnd => break,
            EventData::DocumentStart { .. } if composer.root.is_some() => {
                return Err(YamlError::Documents(line));
            }
            EventData::DocumentStart {
                version_directive, ..
            } => {
                let other = |version: &VersionDirective| (version.major, version.minor) != (1, 1);
                if version_directive.as_ref().is_some_and(other) {
                    return Err(YamlError::Version(line));
                }
            }
            EventData::Alias { anchor } => composer.alias(&anchor, line)?,
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let content = NodeContent::Text { text: value, plain };
                composer.close(content, is_special(tag.as_deref()), anchor, line)?;
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let list = Building::List(Vec::new());
                composer.begin(list, is_special(tag.as_deref()), anchor, line)?;
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let map = Building::Map(MapBuilder::default());
                composer.begin(map, is_special(tag.as_deref()), anchor, line)?;
            }
            EventData::SequenceEnd | EventData::MappingEnd => composer.end()?,
        }
    }
    composer.root.ok_or(YamlError::Empty)
}

fn syntax(error: &libyaml_safer::Error, file: &str) -> YamlError {
    let mark = error.problem_mark().or(error.context_mark());
    let line = mark.map_or(1, line_of);
    // Newer releases of compose accept keys on one line that are longer than libyaml allows.
    if file.lines().any(|line| line.len() > COMPOSE_KEY_MAX) {
        return YamlError::LongKey(line);
    }
    YamlError::Syntax(line, error.problem().to_owned())
}

/// Lines are counted from 1.
fn line_of(mark: Mark) -> usize {
    usize::try_from(mark.line).map_or(usize::MAX, |line| line.saturating_add(1))
}

fn is_special(tag: Option<&str>) -> bool {
    const ORDINARY: [&str; 3] = [
        "tag:yaml.org,2002:str",
        "tag:yaml.org,2002:seq",
        "tag:yaml.org,2002:map",
    ];
    tag.is_some_and(|tag| !ORDINARY.contains(&tag))
}

/// A list or map that is not complete yet.
struct Open {
    building: Building,
    tagged: bool,
    anchor: Option<String>,
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
    key: Option<MapKey>,
    merge: Option<(usize, Rc<Node>)>,
}

enum MapKey {
    Name(Rc<str>),
    Merge,
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    /// A later anchor of the same name replaces an earlier one.
    anchors: HashMap<String, Rc<Node>>,
    root: Option<Rc<Node>>,
}

impl Composer {
    fn alias(&mut self, anchor: &str, line: usize) -> Result<(), YamlError> {
        let node = self.anchors.get(anchor).ok_or(YamlError::Alias(line))?;
        let node = Rc::clone(node);
        self.add(node, line)
    }

    fn begin(
        &mut self,
        building: Building,
        tagged: bool,
        anchor: Option<String>,
        line: usize,
    ) -> Result<(), YamlError> {
        if self.open.len() >= limits::COMPOSE_DEPTH {
            return Err(YamlError::TooDeep(line));
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

    fn end(&mut self) -> Result<(), YamlError> {
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
            Building::List(list) => NodeContent::List(list),
            Building::Map(builder) => NodeContent::Map(builder.finish()?),
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
        content: NodeContent,
        tagged: bool,
        anchor: Option<String>,
        line: usize,
    ) -> Result<(), YamlError> {
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

    fn keep(&mut self, node: Node, anchor: Option<String>, line: usize) -> Result<(), YamlError> {
        let node = Rc::new(node);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.add(node, line)
    }

    /// Adds a complete node to the list or map that is open.
    fn add(&mut self, node: Rc<Node>, line: usize) -> Result<(), YamlError> {
        let depth = self.open.len();
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight = parent.weight.saturating_add(node.weight);
        parent.height = parent.height.max(node.height.saturating_add(1));
        if parent.weight > COMPOSE_NODES {
            return Err(YamlError::TooMany(line));
        }
        if depth.saturating_add(node.height) > limits::COMPOSE_DEPTH.saturating_add(1) {
            return Err(YamlError::TooDeep(line));
        }
        match &mut parent.building {
            Building::List(list) => list.push(node),
            Building::Map(builder) => builder.add(node, line)?,
        }
        Ok(())
    }
}

impl MapBuilder {
    /// Adds a key or, after a key, its value.
    fn add(&mut self, node: Rc<Node>, line: usize) -> Result<(), YamlError> {
        match self.key.take() {
            None => {
                let NodeContent::Text { text, plain } = &node.content else {
                    return Err(YamlError::Key(line));
                };
                if *plain && is_not_text(text) {
                    return Err(YamlError::Key(line));
                }
                if node.tagged || text.len() > COMPOSE_KEY_MAX {
                    return Err(YamlError::LongKey(line));
                }
                let merge = *plain && text == "<<";
                if merge && self.merge.is_some() || self.map.contains_key(text.as_str()) {
                    return Err(YamlError::Duplicate(line, text.clone()));
                }
                self.key = Some(if merge {
                    MapKey::Merge
                } else {
                    MapKey::Name(Rc::from(text.as_str()))
                });
                return Ok(());
            }
            Some(MapKey::Name(name)) => {
                self.map.insert(name, node);
            }
            Some(MapKey::Merge) => self.merge = Some((line, node)),
        }
        Ok(())
    }

    /// Merges what `<<` names: keys of the map itself win, then those of the first map in a list.
    fn finish(mut self) -> Result<Map, YamlError> {
        let Some((line, merge)) = self.merge else {
            return Ok(self.map);
        };
        let sources = match &merge.content {
            NodeContent::Map(_) => std::slice::from_ref(&merge),
            NodeContent::List(sources) => sources,
            NodeContent::Text { .. } => return Err(YamlError::Merge(line)),
        };
        for source in sources {
            let NodeContent::Map(entries) = &source.content else {
                return Err(YamlError::Merge(line));
            };
            if merge.tagged || source.tagged {
                return Err(YamlError::Merge(line));
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

/// Tells whether YAML 1.1, as compose reads it, takes an unquoted text for a number, a boolean, a date or null.
pub(super) fn is_not_text(text: &str) -> bool {
    is_null(text) || is_number(text) || is_date(text) || is_boolean(text)
}

/// Tells whether an unquoted text is null.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Tells whether an unquoted text is a boolean.
pub(super) fn is_boolean(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"];
    let bare = digits.replace('_', "");
    let prefixed = ["0x", "0o", "0b", "0X", "0O", "0B"]
        .iter()
        .any(|prefix| bare.starts_with(prefix));
    let begins = bare
        .trim_start_matches('.')
        .starts_with(|first: char| first.is_ascii_digit());
    special.contains(&digits) || (begins && (prefixed || bare.parse::<f64>().is_ok()))
}

/// `2001-12-14`, perhaps with a time.
fn is_date(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let numeric = |part: Option<&str>, width: usize| {
        part.is_some_and(|part| {
            (1..=width).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let (year, month) = (parts.next(), parts.next());
    let day = parts
        .next()
        .map(|rest| rest.split(['T', 't', ' ']).next().unwrap_or_default());
    year.is_some_and(|year| year.len() == 4)
        && numeric(year, 4)
        && numeric(month, 2)
        && numeric(day, 2)
}

impl YamlError {
    /// Returns whether compose refuses the file as well.
    pub(super) fn is_invalid_yaml(&self) -> bool {
        match self {
            // Some releases accept control characters and long keys.
            YamlError::Syntax(_, problem) => !problem.starts_with("control characters"),
            YamlError::Duplicate(..) | YamlError::Key(_) | YamlError::Alias(_) => true,
            YamlError::TooLarge
            | YamlError::TooDeep(_)
            | YamlError::TooMany(_)
            | YamlError::Parser
            | YamlError::Empty
            | YamlError::Documents(_)
            | YamlError::LongKey(_)
            | YamlError::Version(_)
            | YamlError::Merge(_) => false,
        }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            YamlError::TooLarge => write!(
                f,
                "the compose file is larger than {} bytes; split the stack",
                limits::COMPOSE_FILE_MAX
            ),
            YamlError::TooMany(line) => write!(
                f,
                "the compose file has more than {} values by line {line}, aliases included; split the stack",
                COMPOSE_NODES
            ),
            YamlError::TooDeep(line) => write!(
                f,
                "the compose file is nested more than {} levels deep in line {line}; flatten it",
                limits::COMPOSE_DEPTH
            ),
            YamlError::Parser => f.write_str(
                "the compose file has an unusual spelling that cannot be read here; check its last lines",
            ),
            YamlError::Empty => f.write_str("the compose file is empty; add services"),
            YamlError::Documents(line) => write!(
                f,
                "the compose file has a second document in line {line}, which is not read; merge them into one"
            ),
            YamlError::Version(line) => write!(
                f,
                "the compose file has a %YAML directive in line {line}, which some releases of compose refuse; remove it"
            ),
            YamlError::LongKey(line) => write!(
                f,
                "the compose file has an error or an unusual key in line {line}, or a line that is too long; shorten it"
            ),
            YamlError::Merge(line) => write!(
                f,
                "\"<<\" in line {line} of the compose file is neither a map nor a list of maps; refer to an anchor of a map"
            ),
            YamlError::Syntax(line, problem) => invalid(f, *line, problem),
            YamlError::Duplicate(line, key) => invalid(
                f,
                *line,
                &format!("the key \"{}\" occurs twice", shown(key)),
            ),
            YamlError::Key(line) => invalid(f, *line, "a key is not a text; put it in quotes"),
            YamlError::Alias(line) => invalid(f, *line, "an alias has no anchor before it"),
        }
    }
}

fn invalid(f: &mut fmt::Formatter<'_>, line: usize, problem: &str) -> fmt::Result {
    write!(
        f,
        "the compose file is not valid YAML: line {line}: {}; fix it in Portainer",
        shown(problem)
    )
}

/// Text from the file, shortened and with control characters escaped.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(80) {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
