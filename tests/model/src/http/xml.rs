//! Documents, written and read.

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

use crate::Refusal;

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Document(String);

impl Document {
    pub(super) fn new() -> Self {
        Self(String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"))
    }

    /// An element with text in it.
    pub(super) fn text(&mut self, name: &str, text: impl std::fmt::Display) {
        self.0 += &format!("<{name}>{}</{name}>", escape(text.to_string()));
    }

    /// An element with others in it.
    pub(super) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.0 += &format!("<{name}>");
        inside(self);
        self.0 += &format!("</{name}>");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// The elements with only text in them: their paths from the root (`Complete/Part/ETag`) and their texts, in order.
/// `None` if the document is not well-formed.
pub(super) fn texts(document: &[u8]) -> Option<Vec<(String, String)>> {
    let mut reader = Reader::from_str(std::str::from_utf8(document).ok()?);
    let (mut path, mut text, mut found) = (Vec::<String>::new(), String::new(), Vec::new());
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                path.push(start.local_name().as_ref().to_owned());
                text.clear();
            }
            Event::Text(piece) => text += &piece,
            Event::GeneralRef(reference) => {
                text += &quick_xml::escape::unescape(&format!("&{};", &*reference)).ok()?;
            }
            Event::End(_) => {
                found.push((path.join("/"), std::mem::take(&mut text)));
                path.pop()?;
            }
            Event::Eof => return path.is_empty().then_some(found),
            _ => {}
        }
    }
}

/// The text of the first element at this path, unless it is missing or empty.
pub(super) fn value(document: &[u8], path: &str) -> Result<Option<String>, Refusal> {
    let texts = texts(document).ok_or_else(malformed)?;
    let found = texts.into_iter().find(|(own, _)| own == path);
    Ok(found.map(|(_, text)| text).filter(|text| !text.is_empty()))
}

/// The refusal of a document that is not what the operation expects.
pub(super) fn malformed() -> Refusal {
    Refusal::new(400, "MalformedXML", "The XML you provided was not well-formed.")
}
