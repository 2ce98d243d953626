//! XML of replies, as a bounded stream: no tree is built, and a hostile reply costs no more than its bytes.

use quick_xml::events::Event;

use crate::error::{Code, Error, Result};

/// S3's replies are four elements deep.
const DEPTH_LIMIT: usize = 16;

/// What a reader sees of a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An element with text only: its parent's name (empty for the root), its own, the text.
    Value(&'a str, &'a str, &'a str),
    /// The end of an element with other elements in it: its name.
    End(&'a str),
}

struct Open {
    name: String,
    has_children: bool,
}

/// Reads a document whose root is `root`, item by item.
pub fn read(xml: &[u8], root: &str, mut each: impl FnMut(Item<'_>) -> Result<()>) -> Result<()> {
    let malformed = |why: String| Error::new(Code::BadReply, format!("the reply is not the XML <{root}> of S3: {why}"));
    let xml = std::str::from_utf8(xml).map_err(|e| malformed(e.to_string()))?;
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
    let mut text = String::new();
    let mut seen_root = false;
    loop {
        match reader.read_event().map_err(|e| malformed(e.to_string()))? {
            Event::Start(start) => {
                let name = start.local_name().as_ref().to_owned();
                if open.is_empty() && (seen_root || name != root) {
                    return Err(malformed(format!("it begins with <{name}>")));
                }
                if open.len() == DEPTH_LIMIT {
                    return Err(malformed("it is nested too deep".into()));
                }
                seen_root = true;
                if let Some(parent) = open.last_mut() {
                    parent.has_children = true;
                }
                open.push(Open { name, has_children: false });
                text.clear();
            }
            Event::Text(piece) => text.push_str(&piece),
            Event::CData(piece) => text.push_str(&piece),
            Event::GeneralRef(reference) => {
                let name = reference.xml10_content();
                let character = reference.resolve_char_ref().map_err(|e| malformed(e.to_string()))?;
                match (character, quick_xml::escape::resolve_xml_entity(&name)) {
                    (Some(character), _) => text.push(character),
                    (None, Some(known)) => text.push_str(known),
                    (None, None) => return Err(malformed(format!("it has the unknown entity &{name};"))),
                }
            }
            Event::End(_) => {
                let Some(element) = open.pop() else { return Err(malformed("it ends too often".into())) };
                if element.has_children {
                    each(Item::End(&element.name))?;
                } else {
                    each(Item::Value(open.last().map_or("", |parent| &parent.name), &element.name, &text))?;
                }
                text.clear();
            }
            Event::Eof if seen_root && open.is_empty() => return Ok(()),
            Event::Eof => return Err(malformed("it ends too early".into())),
            // A declaration, a comment, a processing instruction; a document type brings nothing either, since no
            // entity of its own is resolved.
            _ => {}
        }
    }
}

/// Text as it may stand between tags. A reader makes a line feed of a bare carriage return, and may trim white space.
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

/// Whether XML 1.0 has a form for this character (Char, section 2.2); it has none for most control characters.
pub fn can_hold(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Appends an element with this text.
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
    fn values_come_with_their_parents() {
        let xml = "<?xml version=\"1.0\"?>\n<R xmlns=\"http://s3\"><A>1 &lt;&#x41;&amp;</A><B/><C>\n<D><![CDATA[<x>]]></D> </C><C><D>2</D></C></R>\n";
        assert_eq!(items(xml).unwrap(), ["R/A=1 <A&", "R/B=", "C/D=<x>", "/C", "C/D=2", "/C", "/R"]);
        assert_eq!(items("<R/>").unwrap(), ["/R="]);
        assert_eq!(items("<R>text</R>").unwrap(), ["/R=text"]);
    }

    #[test]
    fn what_is_written_is_read() {
        let all = "a<b>&'\"\r\n\t\u{e9}";
        let mut xml = String::from("<R>");
        element(&mut xml, "K", all);
        assert_eq!(items(&(xml + "</R>")).unwrap(), [format!("R/K={all}"), "/R".into()]);
    }

    #[test]
    fn nonsense_is_an_error() {
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
}
