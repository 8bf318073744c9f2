//! How the demo puts things on the screen.

use super::fake::Seen;

pub(crate) fn title(text: &str) {
    println!("\n\n{text}\n{}\n", "-".repeat(text.len()));
}

pub(crate) fn print_containers(before: &[Seen], after: &[Seen]) {
    for now in after {
        let container = if same_container(before, after, &now.service) {
            "same container"
        } else {
            "new container "
        };
        let state = now.health.unwrap_or(now.state);
        println!(
            "    {:<4} {container}  image {}  {state}",
            now.service,
            short(&now.image_id)
        );
    }
}

/// Whether a service has the container that it had.
pub(crate) fn same_container(before: &[Seen], after: &[Seen], service: &str) -> bool {
    let of = |seen: &[Seen]| {
        seen.iter()
            .find(|one| one.service == service)
            .map(|one| one.id.clone())
    };
    of(before) == of(after)
}

/// An image id as Docker's own commands print it.
pub(crate) fn short(id: &str) -> &str {
    let id = id.trim_start_matches("sha256:");
    id.get(..12).unwrap_or(id)
}

/// JSON with its keys in the order they came in, a line for each; what is nested deeply stays on one line.
pub(crate) fn indented(json: &str) -> String {
    const DEEPEST: usize = 4;
    let (mut text, mut depth, mut quoted, mut escaped) = (String::from("    "), 0, false, false);
    let line = |depth: usize| format!("\n    {}", "  ".repeat(depth));
    for sign in json.trim_end().chars() {
        let structure = !quoted;
        quoted ^= sign == '"' && !escaped;
        escaped = sign == '\\' && !escaped;
        match sign {
            '{' | '[' if structure => {
                depth += 1;
                text.push(sign);
                if depth <= DEEPEST {
                    text.push_str(&line(depth));
                }
            }
            '}' | ']' if structure => {
                if depth <= DEEPEST {
                    text.push_str(&line(depth - 1));
                }
                depth -= 1;
                text.push(sign);
            }
            ',' if structure && depth <= DEEPEST => text.push_str(&format!(",{}", line(depth))),
            ',' | ':' if structure => text.push_str(&format!("{sign} ")),
            _ => text.push(sign),
        }
    }
    text + "\n"
}
