//! Parses the parts of Markdown that the documents use.

use std::collections::BTreeSet;

/// Fenced blocks of a language.
pub(super) fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(of) = line.trim_start().strip_prefix("```") {
            let inside: String = lines
                .by_ref()
                .take_while(|line| line.trim_start() != "```")
                .flat_map(|line| [line, "\n"])
                .collect();
            if of == language {
                all.push(inside);
            }
        }
    }
    all
}

/// Text outside of fenced blocks.
pub(super) fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut all = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            all.push_str(line);
            all.push('\n');
        }
    }
    all
}

/// Texts between backticks.
pub(super) fn spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The rows of all tables with this head, cell by cell.
pub(super) fn table_under(text: &str, head: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line == head) {
        let below = lines
            .by_ref()
            .skip(1)
            .take_while(|line| line.starts_with('|'));
        rows.extend(below.map(|row| {
            let inside = row.trim_matches('|');
            inside
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        }));
    }
    rows
}

/// Names of stackhook's own variables.
pub(super) fn variables(text: &str) -> BTreeSet<String> {
    let of_name = |sign: char| sign.is_ascii_uppercase() || sign.is_ascii_digit() || sign == '_';
    text.split(|sign: char| !of_name(sign))
        .filter(|word| word.starts_with("PORTAINER_") || word.starts_with("STACKHOOK_"))
        .map(str::to_owned)
        .collect()
}

/// Every `stackhook COMMAND` in code, with the options behind it.
pub(super) fn calls(text: &str) -> Vec<(String, Vec<String>)> {
    let prose = prose(text);
    // A row of the table of commands names its options in the next cell.
    let rows = prose
        .lines()
        .filter(|line| line.starts_with("| `stackhook "));
    let rows = rows.map(|row| row.replace('`', " "));
    let fenced = ["sh", "text", "yaml"]
        .into_iter()
        .flat_map(|language| blocks(text, language));
    let code = rows.chain(spans(&prose)).chain(fenced);
    let mut all = Vec::new();
    for line in code.flat_map(|code| code.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let words: Vec<&str> = line
            .split(|sign: char| sign.is_whitespace() || "();,".contains(sign))
            .filter(|word| !word.is_empty())
            .collect();
        for at in 1..words.len() {
            let name = words[at - 1].rsplit('/').next();
            let is_command = words[at]
                .chars()
                .all(|sign| sign.is_ascii_lowercase() || sign == '-');
            if name == Some("stackhook") && is_command && !words[at].starts_with('-') {
                let options = words[at..].iter().filter(|word| word.starts_with("--"));
                let options = options.map(|word| (*word).to_owned()).collect();
                all.push((words[at].to_owned(), options));
            }
        }
    }
    all
}

/// Targets of links within the repository.
pub(super) fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchor of a heading.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    headings
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |sign: &char| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_');
            heading
                .chars()
                .filter(kept)
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}
