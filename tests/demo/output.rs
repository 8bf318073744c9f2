//! Formats the output of the demo.

use super::fake::Seen;

pub(crate) fn title(text: &str) {
    println!("\n\n{text}\n{}\n", "-".repeat(text.len()));
}

pub(crate) fn print_containers(before: &[Seen], after: &[Seen]) {
    for now in after {
        let container = if has_same_container(before, after, &now.service) {
            "same container"
        } else {
            "new container "
        };
        let state = now.health.unwrap_or(now.state);
        println!(
            "    {:<4} {container}  image {}  {state}",
            now.service,
            short_id(&now.image_id)
        );
    }
}

/// Returns true if the service still has the same container.
pub(crate) fn has_same_container(before: &[Seen], after: &[Seen], service: &str) -> bool {
    let id = |seen: &[Seen]| {
        seen.iter()
            .find(|container| container.service == service)
            .map(|container| container.id.clone())
    };
    id(before) == id(after)
}

/// Shortens an image id as Docker's commands do.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.trim_start_matches("sha256:");
    id.get(..12).unwrap_or(id)
}

/// Maximum width of a printed line, so that a step fits one screen.
const WIDTH: usize = 110;

/// Cuts a line that is wider than the screen.
pub(crate) fn shortened(line: &str) -> String {
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line)),
        None => line.to_owned(),
    }
}

/// Puts each member of a JSON object on a line of its own, without reordering them.
pub(crate) fn indented(json: &str) -> String {
    let (mut text, mut depth, mut quoted, mut escaped) = (String::from("    "), 0, false, false);
    for character in json.trim_end().chars() {
        let structure = !quoted;
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        match character {
            '{' | '[' if structure => {
                depth += 1;
                text.push(character);
                if depth == 1 {
                    text.push_str("\n      ");
                }
            }
            '}' | ']' if structure => {
                if depth == 1 {
                    text.push_str("\n    ");
                }
                depth -= 1;
                text.push(character);
            }
            ',' if structure && depth == 1 => text.push_str(",\n      "),
            ',' | ':' if structure => text.push_str(&format!("{character} ")),
            _ => text.push(character),
        }
    }
    let lines = text
        .lines()
        .map(|line| match line.trim_start().starts_with("\"stacks\"") {
            true => shortened(line) + "\n",
            false => wrapped(line),
        });
    lines.collect()
}

/// Breaks a line at blanks.
fn wrapped(line: &str) -> String {
    let (mut text, mut width) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        width += word.chars().count();
        if width > WIDTH {
            text.push_str("\n        ");
            width = 8 + word.chars().count();
        }
        text.push_str(word);
    }
    text + "\n"
}
