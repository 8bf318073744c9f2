//! A page with holes: text goes in escaped, always; there is no way to put markup in. `{{name}}` is a text, `{{#name}}…{{/name}}`
//! stands once for every entry of a list, `{{^name}}…{{/name}}` where the list or text is empty.

/// A page that was taken apart.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Literal(&'static str),
    Text(&'static str),
    Section {
        name: &'static str,
        where_empty: bool,
        pieces: Vec<Piece>,
    },
}

/// What goes into the holes of a page, or of one turn of a section; of a name that is there twice the last one.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(&'static str, Field)>);

#[derive(Debug, Clone)]
enum Field {
    Text(String),
    List(Vec<Fields>),
}

impl Fields {
    /// A text.
    pub(super) fn text(mut self, name: &'static str, text: impl Into<String>) -> Fields {
        self.0.push((name, Field::Text(text.into())));
        self
    }

    /// The turns of a section.
    pub(super) fn list(
        mut self,
        name: &'static str,
        list: impl IntoIterator<Item = Fields>,
    ) -> Fields {
        let list = list.into_iter().collect();
        self.0.push((name, Field::List(list)));
        self
    }

    /// The turns of a section in which there is one text each.
    pub(super) fn lines<T: Into<String>>(
        self,
        name: &'static str,
        inner: &'static str,
        lines: impl IntoIterator<Item = T>,
    ) -> Fields {
        let line = |line: T| Fields::default().text(inner, line);
        self.list(name, lines.into_iter().map(line).collect::<Vec<_>>())
    }

    /// A section that is there or not.
    pub(super) fn given(self, name: &'static str, given: bool) -> Fields {
        self.list(name, given.then(Fields::default))
    }
}

impl Template {
    /// Takes a page apart. A section that does not end is dropped; tests look at the only page there is.
    pub(super) fn new(page: &'static str) -> Template {
        let mut open: Vec<(&'static str, bool, Vec<Piece>)> = Vec::new();
        let (mut pieces, mut rest) = (Vec::new(), page);
        while let Some((literal, (name, after))) = rest
            .split_once("{{")
            .and_then(|(literal, after)| Some((literal, after.split_once("}}")?)))
        {
            pieces.push(Piece::Literal(literal));
            rest = after;
            if let Some(section) = name.strip_prefix(['#', '^']) {
                let where_empty = name.starts_with('^');
                open.push((section, where_empty, std::mem::take(&mut pieces)));
            } else if name.starts_with('/') {
                if let Some((name, where_empty, outside)) = open.pop() {
                    let inside = std::mem::replace(&mut pieces, outside);
                    pieces.push(Piece::Section {
                        name,
                        where_empty,
                        pieces: inside,
                    });
                }
            } else {
                pieces.push(Piece::Text(name));
            }
        }
        pieces.push(Piece::Literal(rest));
        Template(pieces)
    }

    /// The page with its holes filled.
    pub(super) fn render(&self, fields: &Fields) -> String {
        let mut page = String::new();
        render(&self.0, &mut vec![fields], &mut page);
        page
    }
}

fn render(pieces: &[Piece], scopes: &mut Vec<&Fields>, page: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => page.push_str(text),
            Piece::Text(name) => match find(scopes, name) {
                Some(Field::Text(text)) => escape(text, page),
                Some(Field::List(_)) | None => debug_assert!(false, "no text {name:?}"),
            },
            Piece::Section {
                name,
                where_empty,
                pieces,
            } => match find(scopes, name) {
                Some(Field::List(list)) if *where_empty => {
                    if list.is_empty() {
                        render(pieces, scopes, page);
                    }
                }
                Some(Field::List(list)) => {
                    for turn in list {
                        scopes.push(turn);
                        render(pieces, scopes, page);
                        scopes.pop();
                    }
                }
                Some(Field::Text(text)) => {
                    if text.is_empty() == *where_empty {
                        render(pieces, scopes, page);
                    }
                }
                None => debug_assert!(false, "no section {name:?}"),
            },
        }
    }
}

/// The innermost field of that name.
fn find<'f>(scopes: &[&'f Fields], name: &str) -> Option<&'f Field> {
    let mut inmost = scopes.iter().rev().flat_map(|fields| fields.0.iter().rev());
    inmost.find(|(own, _)| *own == name).map(|(_, field)| field)
}

/// For text and for attributes in quotes.
fn escape(text: &str, page: &mut String) {
    for sign in text.chars() {
        match sign {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            _ => page.push(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(page: &'static str, fields: Fields, expected: &str) {
        assert_eq!(Template::new(page).render(&fields), expected);
    }

    #[test]
    fn whatever_goes_in_is_text() {
        let hostile = "<script>alert('1')</script>&\"{{other}}";
        let fields = Fields::default().text("name", hostile).text("other", "no");
        check(
            "<b title=\"{{name}}\">{{name}}</b>",
            fields,
            "<b title=\"&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;{{other}}\">\
             &lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;{{other}}</b>",
        );
    }

    /// The names of the texts and sections of a page.
    fn names(pieces: &[Piece], texts: &mut Vec<&'static str>, sections: &mut Vec<&'static str>) {
        for piece in pieces {
            match piece {
                Piece::Literal(_) => {}
                Piece::Text(name) => texts.push(name),
                Piece::Section { name, pieces, .. } => {
                    sections.push(name);
                    names(pieces, texts, sections);
                }
            }
        }
    }

    #[test]
    fn no_value_of_the_real_page_becomes_markup() {
        let page = include_str!("page.html");
        let template = Template::new(page);
        let (mut texts, mut sections) = (Vec::new(), Vec::new());
        names(&template.0, &mut texts, &mut sections);
        assert!(texts.len() > 60 && sections.len() > 30);
        let render = |value: &str| {
            let one = |fields: Fields, name: &&'static str| fields.given(name, true);
            let fields = sections.iter().fold(Fields::default(), one);
            let text = |fields: Fields, name: &&'static str| fields.text(name, value);
            template.render(&texts.iter().fold(fields, text))
        };
        let signs = |page: &str, sign: char| page.matches(sign).count();
        let (plain, hostile) = (render("x"), render("'><b>\"&{{token}}"));
        for sign in ['<', '>', '"', '\''] {
            assert_eq!(signs(&plain, sign), signs(&hostile, sign), "{sign}");
        }
        assert!(hostile.contains("&#39;&gt;&lt;b&gt;&quot;&amp;{{token}}"));
    }

    #[test]
    fn sections_turn_for_every_entry_and_see_what_is_around_them() {
        let rows = ["a", "b"].map(|name| Fields::default().text("row", name));
        let fields = Fields::default()
            .text("all", "x")
            .text("none", "")
            .list("rows", rows)
            .list("empty", [])
            .given("yes", true)
            .given("no", false);
        check(
            "{{#rows}}[{{row}}{{all}}]{{/rows}}{{#empty}}never{{/empty}}{{^empty}}nobody{{/empty}}",
            fields.clone(),
            "[ax][bx]nobody",
        );
        check(
            "{{#yes}}1{{#no}}2{{/no}}{{^no}}3{{/no}}{{/yes}}{{^rows}}4{{/rows}}{{#all}}5{{/all}}{{^none}}6{{/none}}",
            fields,
            "1356",
        );
    }
}
