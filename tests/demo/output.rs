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

/// Indents JSON without reordering its keys; deeply nested values stay on one line.
pub(crate) fn indented(json: &str) -> String {
    const DEEPEST: usize = 4;
    let (mut text, mut depth, mut quoted, mut escaped) = (String::from("    "), 0, false, false);
    let line = |depth: usize| format!("\n    {}", "  ".repeat(depth));
    for character in json.trim_end().chars() {
        let structure = !quoted;
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        match character {
            '{' | '[' if structure => {
                depth += 1;
                text.push(character);
                if depth <= DEEPEST {
                    text.push_str(&line(depth));
                }
            }
            '}' | ']' if structure => {
                if depth <= DEEPEST {
                    text.push_str(&line(depth - 1));
                }
                depth -= 1;
                text.push(character);
            }
            ',' if structure && depth <= DEEPEST => text.push_str(&format!(",{}", line(depth))),
            ',' | ':' if structure => text.push_str(&format!("{character} ")),
            _ => text.push(character),
        }
    }
    text + "\n"
}
