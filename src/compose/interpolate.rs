//! Interpolation of variables in the values of a compose file. The values that are interpolated, and the consequences of
//! a value that cannot be, are decided in [`super`].
//!
//! The rules are those of compose-go's `template` package. Where its releases differ, the result is an error.

use super::variables::{Lookup, Variables};
use crate::limits;

/// Nested defaults of a variable in a compose file.
const VARIABLE_NESTING: usize = 8;

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
        operator: Option<Operator<'t>>,
    },
}

/// The operator behind a variable's name, with the text that it takes.
#[derive(Debug)]
struct Operator<'t> {
    kind: OperatorKind,
    /// Written with `:`, so an empty variable counts as not set.
    or_empty: bool,
    text: Template<'t>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperatorKind {
    /// `${NAME-…}`: the text replaces a variable that is not set.
    Default,
    /// `${NAME?…}`: compose refuses the file, and the text is the message.
    Required,
    /// `${NAME+…}`: the text replaces a variable that is set.
    Alternative,
}

impl Operator<'_> {
    /// Returns whether compose refuses the file because of this value.
    fn refuses(&self, value: &Lookup<'_>) -> bool {
        self.kind == OperatorKind::Required && self.lacks(value)
    }

    /// Returns whether the text replaces the variable.
    fn is_used(&self, value: &Lookup<'_>) -> bool {
        match self.kind {
            OperatorKind::Default => self.lacks(value),
            OperatorKind::Required => false,
            OperatorKind::Alternative => !self.lacks(value),
        }
    }

    /// Returns whether the variable counts as not set.
    fn lacks(&self, value: &Lookup<'_>) -> bool {
        match value {
            Lookup::Set(text) => self.or_empty && text.is_empty(),
            Lookup::Unset => true,
            Lookup::Unclear(_) => false,
        }
    }
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
    /// Errors: [`InterpolationError::Unreadable`], also for operators nested beyond the limit.
    pub(super) fn parse(text: &str) -> Result<Template<'_>, InterpolationError> {
        parse(text, VARIABLE_NESTING)
    }

    /// Replaces the variables by their values.
    ///
    /// Errors: the first variable without a certain value.
    pub(super) fn fill(&self, variables: &Variables) -> Result<Interpolated, InterpolationError> {
        let mut filled = Interpolated {
            text: String::new(),
            assumes_unset: false,
        };
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.text.push_str(text),
                Piece::LoneDollar => return Err(InterpolationError::Unreadable),
                Piece::Variable { name, operator } => {
                    fill_variable(name, operator.as_ref(), variables, &mut filled)?;
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
            let Piece::Variable { name, operator } = piece else {
                continue;
            };
            let value = variables.get(name);
            let Some(operator) = operator else {
                visit(name, needed && value == Lookup::Unset);
                continue;
            };
            visit(name, needed && operator.refuses(&value));
            let is_used = needed && operator.is_used(&value);
            operator.text.visit(variables, is_used, visit);
        }
    }

    /// The missing required variable for which compose refuses the file. The second value tells whether it is in a text
    /// that is not needed, which only some releases evaluate.
    pub(super) fn missing_required(&self, variables: &Variables) -> Option<(&str, bool)> {
        let mut unneeded = None;
        for piece in &self.0 {
            let Piece::Variable {
                name,
                operator: Some(operator),
            } = piece
            else {
                continue;
            };
            let value = variables.get(name);
            if operator.refuses(&value) {
                return Some((name, false));
            }
            let is_needed = operator.is_used(&value) && !matches!(value, Lookup::Unclear(_));
            match operator.text.missing_required(variables) {
                Some((name, false)) if is_needed => return Some((name, false)),
                Some((name, _)) => unneeded = Some((name, true)),
                None => {}
            }
        }
        unneeded
    }
}

fn fill_variable(
    name: &str,
    operator: Option<&Operator<'_>>,
    variables: &Variables,
    filled: &mut Interpolated,
) -> Result<(), InterpolationError> {
    let value = variables.get(name);
    let own = match value {
        Lookup::Unclear(why) => return Err(InterpolationError::Unclear(name.to_owned(), why)),
        Lookup::Unset if operator.is_none() => {
            return Err(InterpolationError::Missing(name.to_owned()));
        }
        Lookup::Unset => "",
        Lookup::Set(text) => text,
    };
    let Some(operator) = operator else {
        filled.text.push_str(own);
        return Ok(());
    };
    if operator.refuses(&value) {
        return Err(InterpolationError::Required(name.to_owned()));
    }
    filled.assumes_unset |= value == Lookup::Unset;
    if operator.is_used(&value) {
        let inner = operator.text.fill(variables)?;
        filled.text.push_str(&inner.text);
        filled.assumes_unset |= inner.assumes_unset;
        return Ok(());
    }
    // Releases before 2.16 evaluate this text although it is not used.
    if let Some((name, _)) = operator.text.missing_required(variables) {
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
                    operator: None,
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
            operator: None,
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
    let kind = match characters.next() {
        Some('-') => OperatorKind::Default,
        Some('?') => OperatorKind::Required,
        Some('+') => OperatorKind::Alternative,
        _ => return Err(InterpolationError::Unreadable),
    };
    Ok(Piece::Variable {
        name,
        operator: Some(Operator {
            kind,
            or_empty,
            text: parse(characters.as_str(), nesting)?,
        }),
    })
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
