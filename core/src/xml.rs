//! Streaming XML parser for replies, and XML for requests. It builds no tree and allocates nothing per element, so a
//! hostile reply costs no more than its bytes.

use std::borrow::Cow;

use quick_xml::events::{BytesStart, Event};

use crate::error::{Code, Error, Result};
use crate::text::presentable;

/// Deepest nesting that is accepted; S3's replies are four elements deep.
const DEPTH_LIMIT: usize = 16;

/// An item that the parser reports.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An element that contains only text: its parent's name (empty for the root), its name, and the text.
    Value(&'a str, &'a str, &'a str),
    /// The end of an element that contains other elements: its name.
    End(&'a str),
}

/// An open element: its start tag, which is borrowed from the document.
struct Open<'a> {
    tag: BytesStart<'a>,
    has_children: bool,
}

/// The text between two tags: a slice of the document if it is one plain piece, or else assembled in a buffer that is
/// reused.
#[derive(Default)]
struct Text<'a> {
    plain: &'a str,
    buffer: String,
    is_buffered: bool,
}

impl<'a> Text<'a> {
    fn clear(&mut self) {
        self.plain = "";
        self.is_buffered = false;
    }

    fn push(&mut self, piece: Cow<'a, str>) {
        match piece {
            Cow::Borrowed(piece) if !self.is_buffered && self.plain.is_empty() => self.plain = piece,
            piece => self.buffer().push_str(&piece),
        }
    }

    fn buffer(&mut self) -> &mut String {
        if !self.is_buffered {
            self.is_buffered = true;
            self.buffer.clear();
            self.buffer.push_str(self.plain);
        }
        &mut self.buffer
    }

    fn as_str(&self) -> &str {
        if self.is_buffered { &self.buffer } else { self.plain }
    }
}

/// Parses a document whose root element is `root`, and calls `each` for each item.
pub fn read(xml: &[u8], root: &str, mut each: impl FnMut(Item<'_>) -> Result<()>) -> Result<()> {
    let malformed = |why: String| {
        Error::new(Code::BadReply, format!("the reply is not an S3 document <{root}>: {}", presentable(why)))
    };
    let xml = std::str::from_utf8(xml).map_err(|e| malformed(e.to_string()))?;
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open<'_>> = Vec::with_capacity(DEPTH_LIMIT);
    let mut text = Text::default();
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|e| malformed(e.to_string()))? {
            Event::Start(tag) => {
                if open.is_empty() && (seen_root || tag.local_name().as_ref() != root) {
                    return Err(malformed(format!("its root element is <{}>", tag.local_name().as_ref())));
                }
                if open.len() == DEPTH_LIMIT {
                    return Err(malformed("its elements are nested too deeply".into()));
                }
                seen_root = true;
                if let Some(parent) = open.last_mut() {
                    parent.has_children = true;
                }
                open.push(Open { tag, has_children: false });
                text.clear();
            }
            Event::Text(piece) => text.push(piece.into_inner()),
            Event::CData(piece) => text.push(piece.into_inner()),
            Event::GeneralRef(reference) => {
                let name = reference.xml10_content();
                let character = reference.resolve_char_ref().map_err(|e| malformed(e.to_string()))?;
                match (character, quick_xml::escape::resolve_xml_entity(&name)) {
                    (Some(character), _) => text.buffer().push(character),
                    (None, Some(known)) => text.buffer().push_str(known),
                    (None, None) => return Err(malformed(format!("it contains the unknown entity &{name};"))),
                }
            }
            Event::End(_) => {
                let Some(element) = open.pop() else {
                    return Err(malformed("it has an end tag without a start tag".into()));
                };
                let name = element.tag.local_name();
                if element.has_children {
                    each(Item::End(name.as_ref()))?;
                } else {
                    let parent = open.last().map(|parent| parent.tag.local_name());
                    each(Item::Value(parent.as_ref().map_or("", AsRef::as_ref), name.as_ref(), text.as_str()))?;
                }
            }
            Event::Eof if seen_root && open.is_empty() => return Ok(()),
            Event::Eof => return Err(malformed("it is truncated".into())),
            // A declaration, a comment, a processing instruction or a document type. The entities of a document type
            // are never resolved.
            _ => {}
        }
    }
}

/// Escapes text for an element's content. White space is escaped too, since a parser turns a bare carriage return into a
/// line feed, and may trim.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Whether XML 1.0 can represent this character (Char, section 2.2); it cannot represent most control characters.
pub fn can_hold(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Appends an element that contains this text.
pub fn element(out: &mut String, name: &str, text: &str) {
    let text = escape(text);
    for piece in ["<", name, ">", &text, "</", name, ">"] {
        out.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn items(xml: &str) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        read(xml.as_bytes(), "R", |item| {
            seen.push(match item {
                Item::Value(parent, name, text) => format!("{parent}/{name}={text}"),
                Item::End(name) => format!("/{name}"),
            });
            Ok(())
        })?;
        Ok(seen)
    }

    #[test]
    fn values_are_reported_with_their_parents() {
        let xml = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://s3\"><A>1 &lt;&#x41;&amp;</A><B/><C>\n<D><![CDATA[<x>]]></D> </C><C><D>2</D></C></R>\n";
        assert_eq!(items(xml).unwrap(), ["R/A=1 <A&", "R/B=", "C/D=<x>", "/C", "C/D=2", "/C", "/R"]);
        assert_eq!(items("<R/>").unwrap(), ["/R="]);
        assert_eq!(items("<R>text</R>").unwrap(), ["/R=text"]);
    }

    #[test]
    fn written_elements_are_parsed_back() {
        let all = "a<b>&'\"\r\n\t\u{e9}";
        let mut xml = String::from("<R>");
        element(&mut xml, "K", all);
        assert_eq!(items(&(xml + "</R>")).unwrap(), [format!("R/K={all}"), "/R".into()]);
        // A parser may trim or change white space that is not escaped.
        assert_eq!(escape("\r\n\t<>&'\""), "&#13;&#10;&#9;&lt;&gt;&amp;&apos;&quot;");
    }

    #[test]
    fn the_characters_of_xml() {
        for held in ['\t', '\n', '\r', ' ', 'a', '\u{d7ff}', '\u{e000}', '\u{fffd}', '\u{10000}', '\u{10ffff}'] {
            assert!(can_hold(held), "{held:?}");
        }
        for other in ['\0', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            assert!(!can_hold(other), "{other:?}");
        }
    }

    #[test]
    fn elements_are_at_most_sixteen_deep() {
        let nested = |depth: usize| format!("<R>{}{}</R>", "<a>".repeat(depth - 1), "</a>".repeat(depth - 1));
        assert!(items(&nested(16)).is_ok());
        assert_eq!(items(&nested(17)).unwrap_err().code(), Code::BadReply);
    }

    #[test]
    fn malformed_documents_are_errors() {
        let deep = format!("<R>{}", "<a>".repeat(100));
        for bad in [
            "",
            "no",
            "<html><body>proxy</body></html>",
            "<R>",
            "<R><A></R>",
            "<R></R><R></R>",
            "<R>&bomb;</R>",
            "{}",
            &deep,
        ] {
            assert_eq!(items(bad).map_err(|e| e.code()), Err(Code::BadReply), "{bad}");
        }
    }

    #[cfg(not(target_family = "wasm"))]
    mod properties {
        use proptest::collection::vec;
        use proptest::prelude::*;
        use proptest::sample::select;

        use super::*;

        /// The same items computed in the simplest way: from quick-xml's own events, with everything owned.
        fn reference(xml: &str) -> Option<Vec<String>> {
            let mut reader = quick_xml::Reader::from_str(xml);
            let (mut open, mut items, mut text) = (Vec::<(String, bool)>::new(), Vec::new(), String::new());
            let start = |open: &mut Vec<(String, bool)>, tag: &BytesStart<'_>, seen: usize| {
                let name = tag.local_name().as_ref().to_owned();
                if open.len() == DEPTH_LIMIT || open.is_empty() && (seen > 0 || name != "R") {
                    return None;
                }
                open.last_mut().into_iter().for_each(|parent| parent.1 = true);
                open.push((name, false));
                Some(())
            };
            let end = |open: &mut Vec<(String, bool)>, text: &str| {
                let (name, has_children) = open.pop()?;
                let parent = open.last().map_or("", |(name, _)| name);
                Some(if has_children { format!("/{name}") } else { format!("{parent}/{name}={text}") })
            };
            loop {
                match reader.read_event().ok()? {
                    Event::Start(tag) => {
                        start(&mut open, &tag, items.len())?;
                        text.clear();
                    }
                    Event::Empty(tag) => {
                        start(&mut open, &tag, items.len())?;
                        items.push(end(&mut open, "")?);
                        text.clear();
                    }
                    Event::End(_) => items.push(end(&mut open, &std::mem::take(&mut text))?),
                    Event::Text(piece) => text.push_str(&piece),
                    Event::CData(piece) => text.push_str(&piece),
                    Event::GeneralRef(name) => match name.resolve_char_ref().ok()? {
                        Some(character) => text.push(character),
                        None => text.push_str(quick_xml::escape::resolve_xml_entity(&name.xml10_content())?),
                    },
                    Event::Eof => return (open.is_empty() && !items.is_empty()).then_some(items),
                    _ => {}
                }
            }
        }

        /// An element of depth four at most, with every kind of content.
        fn element() -> impl Strategy<Value = String> {
            let name = select(vec!["R", "a", "b:c", "\u{e9}"]);
            let text = select(vec![
                "",
                "x",
                " \n",
                "&lt;",
                "&#65;&#x42;",
                "a&amp;b",
                "<![CDATA[<&]]>",
                "<!-- c -->",
                "<?p i?>",
            ]);
            let leaf = (name.clone(), vec(text.clone(), 0..4))
                .prop_map(|(name, text)| format!("<{name} x=\"1\">{}</{name}>", text.concat()));
            leaf.prop_recursive(4, 24, 4, move |inner| {
                let inner = prop_oneof![inner, text.clone().prop_map(String::from)];
                (name.clone(), vec(inner, 0..4)).prop_map(|(name, inner)| match &*inner.concat() {
                    "" => format!("<{name}/>"),
                    inner => format!("<{name}>{inner}</{name}>"),
                })
            })
        }

        /// Pieces of a document, which rarely form a valid one.
        const TOKENS: &[&str] = &[
            "<R>",
            "</R>",
            "<a>",
            "</a>",
            "<b/>",
            "t",
            "&gt;",
            "&none;",
            "&#0;",
            "<![CDATA[",
            "]]>",
            "<!--",
            "-->",
            "<",
            "<!DOCTYPE R>",
            "</",
            ">",
        ];

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

            #[test]
            fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
                let _ = read(&bytes, "R", |_| Ok(()));
            }

            #[test]
            fn well_formed_documents_give_the_items_of_quick_xmls_events(inner in element()) {
                let xml = format!("<?xml version=\"1.0\"?>\n<R>{inner}</R>\n");
                let expected = reference(&xml);
                prop_assert!(expected.is_some(), "{}", xml);
                prop_assert_eq!(items(&xml).ok(), expected);
            }

            #[test]
            fn tags_in_any_order_give_the_items_of_quick_xmls_events(tokens in vec(select(TOKENS), 0..12)) {
                let xml = tokens.concat();
                prop_assert_eq!(items(&xml).ok(), reference(&xml), "{}", xml);
            }
        }
    }
}
