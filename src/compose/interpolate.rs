//! Variables in the values of a compose file, read and filled as compose does it. Which values are filled, and what
//! follows when one cannot be, is decided in `compose`.
//!
//! The rules are those of compose-go's `template` package. Where its releases differ, nothing is guessed: the value
//! cannot be filled here.

use std::collections::BTreeMap;

use crate::limits;

/// A value with its variables still open.
#[derive(Debug)]
pub(crate) struct Template<'t>(Vec<Piece<'t>>);

#[derive(Debug)]
enum Piece<'t> {
    Text(&'t str),
    /// A `$` that begins nothing. Newer composes keep it, older ones refuse the file.
    Lone,
    Variable {
        name: &'t str,
        without: Without<'t>,
    },
}

/// What a variable's place gets where the variable does not fill it.
#[derive(Debug)]
enum Without<'t> {
    /// `${NAME}`: nothing, and compose prints a warning.
    Nothing,
    /// `${NAME-…}`: this, if the variable is not set.
    IfUnset(Template<'t>),
    /// `${NAME:-…}`: this, if the variable is not set or empty.
    IfEmpty(Template<'t>),
    /// `${NAME?…}` and the like.
    Other(Operator, Template<'t>),
}

/// The operators that are read but never acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `?`: compose stops if the variable is not set.
    Required,
    /// `:?`: the same, also if it is empty.
    RequiredFull,
    /// `+`: another text if it is set.
    Alternative,
    /// `:+`: the same, if it is not empty either.
    AlternativeFull,
}

impl Operator {
    /// As it is written.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Operator::Required => "?",
            Operator::RequiredFull => ":?",
            Operator::Alternative => "+",
            Operator::AlternativeFull => ":+",
        }
    }
}

/// Why a value cannot be filled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfilled {
    /// The variable has neither a value nor a default.
    Missing(String),
    /// An operator that depends on more than we want to foresee.
    Operator(String, Operator),
    /// No variable, or one that releases of compose read differently.
    Unreadable,
    /// The value, or what it grows to, is longer than any that we read.
    TooLong,
}

impl Template<'_> {
    /// Reads a value.
    ///
    /// # Errors
    /// [`Unfilled::Unreadable`], also for defaults within defaults that nobody writes.
    pub(crate) fn parse(text: &str) -> Result<Template<'_>, Unfilled> {
        parse(text, limits::VARIABLE_NESTING)
    }

    /// Puts the values in. A default is looked at only where it is needed.
    ///
    /// # Errors
    /// The first thing that has no certain value.
    pub(crate) fn fill(&self, env: &BTreeMap<String, String>) -> Result<String, Unfilled> {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Lone => return Err(Unfilled::Unreadable),
                Piece::Variable { name, without } => match (without, env.get(*name)) {
                    (Without::Other(operator, _), _) => {
                        return Err(Unfilled::Operator((*name).to_owned(), *operator));
                    }
                    (Without::IfEmpty(default), Some(value)) if value.is_empty() => {
                        filled.push_str(&default.fill(env)?)
                    }
                    (_, Some(value)) => filled.push_str(value),
                    (Without::IfUnset(default) | Without::IfEmpty(default), None) => {
                        filled.push_str(&default.fill(env)?)
                    }
                    (Without::Nothing, None) => return Err(Unfilled::Missing((*name).to_owned())),
                },
            }
            if filled.len() > limits::COMPOSE_VALUE_MAX {
                return Err(Unfilled::TooLong);
            }
        }
        Ok(filled)
    }

    /// Tells every variable that the value names, and whether compose would miss it: it is needed, has no value, and
    /// nothing stands in for it.
    pub(crate) fn variables(
        &self,
        env: &BTreeMap<String, String>,
        tell: &mut dyn FnMut(&str, bool),
    ) {
        self.walk(env, true, tell);
    }

    fn walk(&self, env: &BTreeMap<String, String>, needed: bool, tell: &mut dyn FnMut(&str, bool)) {
        for piece in &self.0 {
            let Piece::Variable { name, without } = piece else {
                continue;
            };
            let value = env.get(*name);
            let full = value.is_some_and(|value| !value.is_empty());
            let missed = match without {
                Without::Nothing | Without::Other(Operator::Required, _) => value.is_none(),
                Without::Other(Operator::RequiredFull, _) => !full,
                Without::IfUnset(_) | Without::IfEmpty(_) => false,
                Without::Other(Operator::Alternative | Operator::AlternativeFull, _) => false,
            };
            tell(name, needed && missed);
            match without {
                Without::Nothing => {}
                Without::IfUnset(inner) => inner.walk(env, needed && value.is_none(), tell),
                Without::IfEmpty(inner) => inner.walk(env, needed && !full, tell),
                Without::Other(Operator::Alternative, inner) => {
                    inner.walk(env, needed && value.is_some(), tell)
                }
                Without::Other(Operator::AlternativeFull, inner) => {
                    inner.walk(env, needed && full, tell)
                }
                Without::Other(Operator::Required | Operator::RequiredFull, inner) => {
                    inner.walk(env, false, tell)
                }
            }
        }
    }
}

fn parse(text: &str, nesting: usize) -> Result<Template<'_>, Unfilled> {
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
                .split_at_checked(closing(inner)?)
                .ok_or(Unfilled::Unreadable)?;
            pieces.push(braced(inside, nesting)?);
            rest = after.strip_prefix('}').unwrap_or(after);
        } else {
            let (name, after) = take_name(after);
            pieces.push(if name.is_empty() {
                Piece::Lone
            } else {
                Piece::Variable {
                    name,
                    without: Without::Nothing,
                }
            });
            rest = after;
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(Template(pieces))
}

/// Reads what stands between the braces.
fn braced(inside: &str, nesting: usize) -> Result<Piece<'_>, Unfilled> {
    let (name, rest) = take_name(inside);
    if name.is_empty() {
        return Err(Unfilled::Unreadable);
    }
    if rest.is_empty() {
        return Ok(Piece::Variable {
            name,
            without: Without::Nothing,
        });
    }
    let nesting = nesting.checked_sub(1).ok_or(Unfilled::Unreadable)?;
    let (colon, rest) = rest
        .strip_prefix(':')
        .map_or((false, rest), |rest| (true, rest));
    let mut signs = rest.chars();
    let sign = signs.next();
    // Compose's pattern does not look beyond a line.
    if rest.contains('\n') {
        return Err(Unfilled::Unreadable);
    }
    let inner = parse(signs.as_str(), nesting)?;
    let without = match (sign, colon) {
        (Some('-'), false) => Without::IfUnset(inner),
        (Some('-'), true) => Without::IfEmpty(inner),
        (Some('?'), false) => Without::Other(Operator::Required, inner),
        (Some('?'), true) => Without::Other(Operator::RequiredFull, inner),
        (Some('+'), false) => Without::Other(Operator::Alternative, inner),
        (Some('+'), true) => Without::Other(Operator::AlternativeFull, inner),
        _ => return Err(Unfilled::Unreadable),
    };
    Ok(Piece::Variable { name, without })
}

/// Where the brace is closed that was opened just before `inside`. Releases of compose count a brace without a `$`
/// differently, so there must be none.
fn closing(inside: &str) -> Result<usize, Unfilled> {
    let mut open = 1_usize;
    let mut before = b'{';
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' if before == b'$' => open += 1,
            b'{' => return Err(Unfilled::Unreadable),
            b'}' if before == b'{' => return Err(Unfilled::Unreadable),
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
    Err(Unfilled::Unreadable)
}

/// The longest name at the start, and what follows it.
fn take_name(text: &str) -> (&str, &str) {
    let end = text
        .char_indices()
        .find(|(at, sign)| {
            !(*sign == '_' || sign.is_ascii_alphabetic() || *at > 0 && sign.is_ascii_digit())
        })
        .map_or(text.len(), |(at, _)| at);
    text.split_at_checked(end).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests;
