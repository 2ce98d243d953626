//! The canonical headers, sorted by name, and the rest of the canonical request after them.
//!
//! They are cached from one request to the next, unless one of them is a secret. Requests of one transfer have the same
//! headers, most of them with the same values (the host, the date): those are compared, and not written again. This saves
//! more than the copying, since bytes that were just written are slow to hash.
//!
//! ASCII white space in a value is trimmed, and each run of it becomes one space, also inside quotes, as in botocore and
//! MinIO. awscrt keeps a tab between words; in RFC 9110 it means the same as a space.

use zeroize::{Zeroize as _, Zeroizing};

use super::canonical::is_space;

/// A header to sign: its name in any case, and its value.
pub(super) type Header<'a> = (&'a str, &'a str);

/// The position of a header in the canonical request.
#[derive(Clone)]
struct Line {
    /// Index of the header in the list to sign.
    header: usize,
    /// Start and end of its name, relative to the start of the block.
    name: (usize, usize),
    value: (usize, usize),
}

/// The headers of the last signature.
#[derive(Clone, Default)]
pub(super) struct Headers {
    /// Space for the head of the canonical request, then the block: the header lines, an empty line, the names and the
    /// payload's hash.
    text: Zeroizing<Vec<u8>>,
    /// Start of the block.
    start: usize,
    lines: Vec<Line>,
    names: String,
    payload: (usize, usize),
    order: Vec<usize>,
    /// Names in lower case; there may be more than are used.
    lower: Vec<String>,
}

impl Headers {
    /// The canonical request with this head (method, path and query, one per line).
    pub(super) fn after(&mut self, head: &[u8]) -> &[u8] {
        if self.start < head.len() {
            let more = head.len().next_power_of_two() - self.start;
            let mut text = Zeroizing::new(Vec::with_capacity(more + self.text.len()));
            text.resize(more, 0);
            text.extend_from_slice(&self.text);
            self.text = text;
            self.start += more;
        }
        self.text[self.start - head.len()..self.start].copy_from_slice(head);
        &self.text[self.start - head.len()..]
    }

    /// The last canonical request, whose head had `length` bytes.
    pub(super) fn last(&self, length: usize) -> &[u8] {
        &self.text[self.start.saturating_sub(length)..]
    }

    /// The header lines, each with `\n` at its end.
    pub(super) fn lines(&self) -> &[u8] {
        let after = 2 + self.names.len() + self.payload.1 - self.payload.0;
        &self.text[self.start..self.text.len().saturating_sub(after)]
    }

    /// The names, joined by `;`.
    pub(super) fn names(&self) -> &str {
        &self.names
    }

    /// Sets the headers `given`, then the signer's `own`, and the payload's hash. Returns whether the names are known to
    /// be the same as before.
    pub(super) fn set(&mut self, given: &[Header<'_>], own: &[Header<'_>], payload: &str) -> bool {
        if given.len() + own.len() == self.lines.len() && self.update(given, own, payload) {
            return true;
        }
        self.write(given, own, payload);
        false
    }

    /// Replaces the values that differ. Returns `false`, possibly after writing some, if that is not enough.
    fn update(&mut self, given: &[Header<'_>], own: &[Header<'_>], payload: &str) -> bool {
        let block = &mut self.text[self.start..];
        for line in &self.lines {
            let (name, value) = nth(given, own, line.header);
            if !is_same(name.as_bytes(), &block[line.name.0..line.name.1])
                || !replace(&mut block[line.value.0..line.value.1], value)
            {
                return false;
            }
        }
        replace(&mut block[self.payload.0..self.payload.1], payload)
    }

    /// Makes room for `more` bytes. Headers may be secret, so a larger buffer replaces one that is zeroized.
    fn reserve(&mut self, more: usize) {
        let needed = self.text.len() + more;
        if self.text.capacity() < needed {
            let mut text = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
            text.extend_from_slice(&self.text);
            self.text = text;
        }
    }

    /// Zeroizes the headers of the last request.
    pub(super) fn forget(&mut self) {
        self.text.zeroize();
        self.start = 0;
        self.lines.clear();
        self.names.clear();
        self.payload = (0, 0);
    }

    fn write(&mut self, given: &[Header<'_>], own: &[Header<'_>], payload: &str) {
        let count = given.len() + own.len();
        let lines = given.iter().chain(own).map(|(name, value)| 2 * name.len() + value.len() + 3);
        self.text.truncate(self.start);
        self.reserve(lines.sum::<usize>() + payload.len() + 2);
        self.lower.resize_with(count.max(self.lower.len()), String::new);
        for (n, lower) in self.lower.iter_mut().enumerate().take(count) {
            lower.clear();
            lower.push_str(nth(given, own, n).0);
            lower.make_ascii_lowercase();
        }
        let lower = &self.lower;
        self.order.clear();
        self.order.extend(0..count);
        self.order.sort_unstable_by(|a, b| lower[*a].cmp(&lower[*b]).then(a.cmp(b)));

        let start = self.start;
        self.names.clear();
        self.lines.clear();
        for &header in &self.order {
            let this = lower[header].as_str();
            let at = self.text.len() - start;
            let name = match self.lines.last() {
                // A repeated name: its values share a line.
                Some(last) if &self.text[start + last.name.0..start + last.name.1] == this.as_bytes() => {
                    self.text.pop();
                    self.text.push(b',');
                    last.name
                }
                last => {
                    if last.is_some() {
                        self.names.push(';');
                    }
                    self.names.push_str(this);
                    self.text.extend_from_slice(this.as_bytes());
                    self.text.push(b':');
                    (at, at + this.len())
                }
            };
            let at = self.text.len() - start;
            push_value(&mut self.text, nth(given, own, header).1);
            self.lines.push(Line { header, name, value: (at, self.text.len() - start) });
            self.text.push(b'\n');
        }
        self.text.push(b'\n');
        self.text.extend_from_slice(self.names.as_bytes());
        self.text.push(b'\n');
        let at = self.text.len() - start;
        self.text.extend_from_slice(payload.as_bytes());
        self.payload = (at, self.text.len() - start);
    }
}

fn nth<'a>(given: &[Header<'a>], own: &[Header<'a>], n: usize) -> Header<'a> {
    given.get(n).or_else(|| own.get(n - given.len())).copied().unwrap_or_default()
}

/// Replaces a value by another, if that has the same length and is canonical.
fn replace(place: &mut [u8], value: &str) -> bool {
    let value = value.as_bytes();
    if is_same(value, place) {
        return true;
    }
    let fits = value.len() == place.len() && value.iter().all(|byte| *byte > b' ');
    if fits {
        place.copy_from_slice(value);
    }
    fits
}

/// Compares short texts in words, of which the last may overlap. A call of `memcmp` would cost more.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    if a.len() != b.len() {
        return false;
    }
    let (Some(last_a), Some(last_b)) = (a.last_chunk(), b.last_chunk()) else { return a.iter().eq(b) };
    let words = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let differ = words.fold(word(last_a) ^ word(last_b), |differ, (a, b)| differ | (word(a) ^ word(b)));
    differ == 0
}

/// Appends a header's value: trimmed, and with each run of white space as one space.
pub(super) fn push_value(text: &mut Vec<u8>, value: &str) {
    for (n, word) in value.split(is_space).filter(|word| !word.is_empty()).enumerate() {
        if n > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn value(given: &str) -> String {
        let mut text = Vec::new();
        push_value(&mut text, given);
        String::from_utf8(text).unwrap()
    }

    fn block(headers: &Headers) -> &str {
        str::from_utf8(headers.last(0)).unwrap()
    }

    #[test]
    fn white_space_of_a_value_is_trimmed_and_folded() {
        for (given, canonical) in [
            ("", ""),
            (" ", ""),
            ("a", "a"),
            ("  a   b ", "a b"),
            ("a\t b", "a b"),
            ("\"a  b\"", "\"a b\""),
            ("ü  ö", "ü ö"),
            ("a\u{1}b\u{a0}c", "a\u{1}b\u{a0}c"),
        ] {
            assert_eq!(value(given), canonical, "{given:?}");
        }
    }

    #[test]
    fn names_in_any_case_are_sorted_and_repeated_ones_joined_in_their_order() {
        let mut headers = Headers::default();
        let given = [("X-B", "2"), ("x-a", "z"), ("X-A", " a  b "), ("x-c", "")];
        for _ in 0..2 {
            headers.set(&given, &[("host", "h")], "hash");
            assert_eq!(block(&headers), "host:h\nx-a:z,a b\nx-b:2\nx-c:\n\nhost;x-a;x-b;x-c\nhash");
            assert_eq!(headers.lines(), b"host:h\nx-a:z,a b\nx-b:2\nx-c:\n");
            assert_eq!(headers.names(), "host;x-a;x-b;x-c");
        }
    }

    #[test]
    fn a_head_of_any_length_precedes_the_block() {
        let mut headers = Headers::default();
        headers.set(&[("a", "1")], &[], "hash");
        for length in [3, 0, 200, 100, 3000, 1] {
            let head = vec![b'h'; length];
            let wanted = [&head[..], b"a:1\n\na\nhash"].concat();
            assert_eq!(headers.after(&head), wanted);
            assert_eq!(headers.last(length), wanted);
            assert!(headers.set(&[("a", "1")], &[], "hash"));
        }
        assert!(headers.set(&[("a", "2")], &[], "hash"));
        assert_eq!(headers.after(b"h"), b"ha:2\n\na\nhash");
    }

    /// Whatever was signed before, the result is that of fresh headers.
    #[test]
    fn forgotten_headers_are_gone_and_the_next_ones_are_written() {
        let mut headers = Headers::default();
        headers.set(&[("key", "hush")], &[("host", "h")], "hash");
        headers.after(b"GET\n");
        headers.forget();
        assert!(headers.text.is_empty() && headers.names().is_empty() && headers.lines().is_empty());
        assert!(!headers.set(&[("key", "2")], &[("host", "h")], "hash"));
        assert_eq!(headers.after(b"GET\n"), b"GET\nhost:h\nkey:2\n\nhost;key\nhash");
    }

    #[test]
    fn cached_headers_never_change_a_result() {
        let lists: [&[Header<'_>]; 12] = [
            &[],
            &[("a", "1"), ("b-long-name", "a value of some length")],
            &[("a", "2"), ("b-long-name", "a value of some lengte")],
            &[("a", "2"), ("b-long-name", "a-value-of-some-length")],
            &[("a", " "), ("b-long-name", "a value  of some lengt")],
            &[("a", "22"), ("b-long-name", "a value of some length")],
            &[("b-long-name", "a value of some length"), ("a", "1")],
            &[("a", "1"), ("b-long-nams", "a value of some length")],
            &[("A", "1"), ("b-long-name", "a value of some length")],
            &[("a", "1"), ("a", "2")],
            &[("a", "2"), ("a", "1")],
            &[("a", "2"), ("A", "1")],
        ];
        let fresh = |given, payload| {
            let mut headers = Headers::default();
            headers.set(given, &[("host", "h")], payload);
            block(&headers).to_owned()
        };
        let mut kept = Headers::default();
        for (before, after) in lists.iter().flat_map(|a| lists.iter().map(move |b| (a, b))) {
            kept.set(before, &[("host", "h")], "hash");
            assert_eq!(block(&kept), fresh(before, "hash"));
            let names = kept.names().to_owned();
            for payload in ["hash", "sash", "longer"] {
                let same = kept.set(after, &[("host", "h")], payload);
                assert_eq!(block(&kept), fresh(after, payload), "{before:?} {after:?}");
                assert!(!same || payload != "hash" || names == kept.names());
            }
        }
    }
}
