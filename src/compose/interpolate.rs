//! Interpolation of variables in the values of a compose file. The values that are interpolated, and the consequences of
//! a value that cannot be, are decided in [`super`].
//!
//! The rules are those of compose-go's `template` package. Where its releases differ, the result is an error.

use super::variables::{Lookup, Variables};
use crate::limits;

/// A parsed value whose variables are not filled in yet.
#[derive(Debug)]
pub(super) struct Template<'t>(Vec<Piece<'t>>);

#[derive(Debug)]
enum Piece<'t> {
    Text(&'t str),
    /// A `$` that starts no variable. Newer releases of compose keep it, older ones refuse the file.
    LoneDollar,
    Variable {
        name: &'t str,
        fallback: Fallback<'t>,
    },
}

/// The operator behind a variable's name, with the text that it takes.
#[derive(Debug)]
enum Fallback<'t> {
    /// `${NAME}`: an unset variable is replaced by nothing, with a warning.
    Nothing,
    /// `${NAME-…}`, or `${NAME:-…}` with `or_empty`.
    Default { text: Template<'t>, or_empty: bool },
    /// `${NAME?…}`, or `${NAME:?…}` with `or_empty`: compose refuses the file.
    Required {
        message: Template<'t>,
        or_empty: bool,
    },
    /// `${NAME+…}`, or `${NAME:+…}` with `or_empty`: replaces a variable that is set.
    Alternative { text: Template<'t>, or_empty: bool },
}

/// An interpolated value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub(super) text: String,
    /// It depends on a variable having no value here; another source may set it.
    pub(super) assumes_unset: bool,
}

/// The reason for which a value cannot be interpolated with certainty.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InterpolationError {
    /// The variable has neither a value nor a default.
    Missing(String),
    /// A required variable is missing: compose refuses the file.
    Required(String),
    /// A required variable is missing in a text that is not needed; only some releases of compose refuse the file.
    RequiredInUnused(String),
    /// The value of the variable is not known, for this reason.
    Unclear(String, &'static str),
    /// Not a variable, or one that releases of compose read differently.
    Unreadable,
    /// The value, or its expansion, is longer than the limit.
    TooLong,
}

impl Template<'_> {
    /// Parses a value.
    ///
    /// # Errors
    /// [`InterpolationError::Unreadable`], also for operators nested beyond the limit.
    pub(super) fn parse(text: &str) -> Result<Template<'_>, InterpolationError> {
        parse(text, limits::VARIABLE_NESTING)
    }

    /// Replaces the variables by their values.
    ///
    /// # Errors
    /// The first variable without a certain value.
    pub(super) fn fill(&self, variables: &Variables) -> Result<Interpolated, InterpolationError> {
        let mut filled = Interpolated {
            text: String::new(),
            assumes_unset: false,
        };
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.text.push_str(text),
                Piece::LoneDollar => return Err(InterpolationError::Unreadable),
                Piece::Variable { name, fallback } => {
                    fill_variable(name, fallback, variables, &mut filled)?;
                }
            }
            if filled.text.len() > limits::COMPOSE_VALUE_MAX {
                return Err(InterpolationError::TooLong);
            }
        }
        Ok(filled)
    }

    /// Calls `visit` with each variable that the value names, and whether compose would miss its value.
    pub(super) fn visit_variables(&self, variables: &Variables, visit: &mut dyn FnMut(&str, bool)) {
        self.visit(variables, true, visit);
    }

    fn visit(&self, variables: &Variables, needed: bool, visit: &mut dyn FnMut(&str, bool)) {
        for piece in &self.0 {
            let Piece::Variable { name, fallback } = piece else {
                continue;
            };
            let value = variables.get(name);
            let missing = match fallback {
                Fallback::Nothing => value == Lookup::Unset,
                Fallback::Required { or_empty, .. } => lacks(&value, *or_empty),
                Fallback::Default { .. } | Fallback::Alternative { .. } => false,
            };
            visit(name, needed && missing);
            match fallback {
                Fallback::Nothing => {}
                Fallback::Required { message, .. } => message.visit(variables, false, visit),
                Fallback::Default { text, or_empty } => {
                    text.visit(variables, needed && lacks(&value, *or_empty), visit);
                }
                Fallback::Alternative { text, or_empty } => {
                    text.visit(variables, needed && !lacks(&value, *or_empty), visit);
                }
            }
        }
    }

    /// The missing required variable for which compose refuses the file. The second value tells whether it is in a text
    /// that is not needed, which only some releases evaluate.
    pub(super) fn missing_required(&self, variables: &Variables) -> Option<(&str, bool)> {
        let variable = |piece: &Piece<'_>| match piece {
            Piece::Variable { .. } => true,
            Piece::Text(_) | Piece::LoneDollar => false,
        };
        let mut unneeded = None;
        for piece in self.0.iter().filter(|piece| variable(piece)) {
            let Piece::Variable { name, fallback } = piece else {
                continue;
            };
            let value = variables.get(name);
            let (text, is_needed) = match fallback {
                Fallback::Nothing => continue,
                Fallback::Required { or_empty, .. } if lacks(&value, *or_empty) => {
                    return Some((name, false));
                }
                Fallback::Required { message, .. } => (message, false),
                Fallback::Default { text, or_empty } => (text, lacks(&value, *or_empty)),
                Fallback::Alternative { text, or_empty } => {
                    let unclear = matches!(value, Lookup::Unclear(_));
                    (text, !unclear && !lacks(&value, *or_empty))
                }
            };
            match text.missing_required(variables) {
                Some((name, false)) if is_needed => return Some((name, false)),
                Some((name, _)) => unneeded = Some((name, true)),
                None => {}
            }
        }
        unneeded
    }
}

/// Returns whether a variable counts as not set for an operator.
fn lacks(value: &Lookup<'_>, or_empty: bool) -> bool {
    match value {
        Lookup::Set(text) => or_empty && text.is_empty(),
        Lookup::Unset => true,
        Lookup::Unclear(_) => false,
    }
}

fn fill_variable(
    name: &str,
    fallback: &Fallback<'_>,
    variables: &Variables,
    filled: &mut Interpolated,
) -> Result<(), InterpolationError> {
    let value = variables.get(name);
    if let Lookup::Unclear(why) = value {
        return Err(InterpolationError::Unclear(name.to_owned(), why));
    }
    let is_unset = value == Lookup::Unset;
    let own = match value {
        Lookup::Set(text) => text,
        Lookup::Unset | Lookup::Unclear(_) => "",
    };
    let (text, is_used) = match fallback {
        Fallback::Nothing if is_unset => return Err(InterpolationError::Missing(name.to_owned())),
        Fallback::Nothing => {
            filled.text.push_str(own);
            return Ok(());
        }
        Fallback::Required { or_empty, .. } if lacks(&value, *or_empty) => {
            return Err(InterpolationError::Required(name.to_owned()));
        }
        Fallback::Required { message, .. } => (message, false),
        Fallback::Default { text, or_empty } => (text, lacks(&value, *or_empty)),
        Fallback::Alternative { text, or_empty } => (text, !lacks(&value, *or_empty)),
    };
    filled.assumes_unset |= is_unset;
    if is_used {
        let inner = text.fill(variables)?;
        filled.text.push_str(&inner.text);
        filled.assumes_unset |= inner.assumes_unset;
        return Ok(());
    }
    // Releases before 2.16 evaluate this text although it is not used.
    if let Some((name, _)) = text.missing_required(variables) {
        return Err(InterpolationError::RequiredInUnused(name.to_owned()));
    }
    filled.text.push_str(own);
    Ok(())
}

fn parse(text: &str, nesting: usize) -> Result<Template<'_>, InterpolationError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Piece::Text("$"));
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let (inside, after) = inner
                .split_at_checked(closing_brace(inner)?)
                .ok_or(InterpolationError::Unreadable)?;
            pieces.push(parse_braced(inside, nesting)?);
            rest = after.strip_prefix('}').unwrap_or(after);
        } else {
            let (name, after) = split_name(after);
            pieces.push(match name.is_empty() {
                true => Piece::LoneDollar,
                false => Piece::Variable {
                    name,
                    fallback: Fallback::Nothing,
                },
            });
            rest = after;
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(Template(pieces))
}

/// Parses the text between the braces.
fn parse_braced(inside: &str, nesting: usize) -> Result<Piece<'_>, InterpolationError> {
    let (name, rest) = split_name(inside);
    if name.is_empty() {
        return Err(InterpolationError::Unreadable);
    }
    if rest.is_empty() {
        return Ok(Piece::Variable {
            name,
            fallback: Fallback::Nothing,
        });
    }
    let nesting = nesting
        .checked_sub(1)
        .ok_or(InterpolationError::Unreadable)?;
    let (or_empty, rest) = rest
        .strip_prefix(':')
        .map_or((false, rest), |rest| (true, rest));
    // Compose's pattern does not match across lines.
    if rest.contains('\n') {
        return Err(InterpolationError::Unreadable);
    }
    let mut characters = rest.chars();
    let operator = characters.next();
    let text = parse(characters.as_str(), nesting)?;
    let fallback = match operator {
        Some('-') => Fallback::Default { text, or_empty },
        Some('?') => Fallback::Required {
            message: text,
            or_empty,
        },
        Some('+') => Fallback::Alternative { text, or_empty },
        _ => return Err(InterpolationError::Unreadable),
    };
    Ok(Piece::Variable { name, fallback })
}

/// The position of the brace that closes the one before `inside`. Releases of compose count braces without a `$`
/// differently, so those are refused.
fn closing_brace(inside: &str) -> Result<usize, InterpolationError> {
    let mut open = 1_usize;
    let mut before = b'{';
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' if before == b'$' => open += 1,
            b'{' => return Err(InterpolationError::Unreadable),
            b'}' if before == b'{' => return Err(InterpolationError::Unreadable),
            b'}' => {
                open -= 1;
                if open == 0 {
                    return Ok(at);
                }
            }
            _ => {}
        }
        before = byte;
    }
    Err(InterpolationError::Unreadable)
}

/// Splits the longest name off the start of a text.
fn split_name(text: &str) -> (&str, &str) {
    let is_part = |at: usize, character: char| {
        character == '_'
            || character.is_ascii_alphabetic()
            || (at > 0 && character.is_ascii_digit())
    };
    let end = text
        .char_indices()
        .find(|(at, character)| !is_part(*at, *character))
        .map_or(text.len(), |(at, _)| at);
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
