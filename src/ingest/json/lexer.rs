//! JSON text, token by token, with places.
//!
//! A body is parsed straight into columns, so this is all the parsing there is: strings without copying where they hold
//! no escapes, numbers as the text they are (nothing passes through a float that need not), and for every fault the byte
//! at which the text stops being JSON (RFC 8259). The text is known to be UTF-8.

use std::borrow::Cow;

/// The text is not JSON from this byte on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct Syntax {
    /// Bytes from the beginning of the body.
    pub(in crate::ingest) at: usize,
    /// What is wrong there.
    pub(in crate::ingest) why: &'static str,
}

type Result<T> = std::result::Result<T, Syntax>;

/// A place in a text.
#[derive(Debug, Clone)]
pub(in crate::ingest) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    nesting: usize,
}

/// The first byte of a value says which kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ingest) enum Kind {
    Object,
    Array,
    String,
    Number,
    True,
    False,
    Null,
}

impl Kind {
    /// The word for it in messages.
    pub(in crate::ingest) fn word(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "a list",
            Self::String => "a text",
            Self::Number => "a number",
            Self::True | Self::False => "a boolean",
            Self::Null => "null",
        }
    }
}

impl<'a> Lexer<'a> {
    /// A lexer that refuses values nested deeper than `nesting`.
    pub(in crate::ingest) fn new(text: &'a str, nesting: usize) -> Self {
        Self { text, at: 0, nesting }
    }

    /// Bytes from the beginning.
    pub(in crate::ingest) fn place(&self) -> usize {
        self.at
    }

    /// Goes on at another place.
    pub(in crate::ingest) fn go_to(&mut self, at: usize) {
        self.at = at;
    }

    /// The text between a place and this one.
    pub(in crate::ingest) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    fn fault<T>(&self, why: &'static str) -> Result<T> {
        let why = if self.at >= self.text.len() { "the body ends in the middle of a value" } else { why };
        Err(Syntax { at: self.at, why })
    }

    /// The next byte that is not white space, not taken.
    pub(in crate::ingest) fn peek(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes the next byte if it is this one.
    pub(in crate::ingest) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Takes the next byte, which must be this one.
    pub(in crate::ingest) fn expect(&mut self, byte: u8, why: &'static str) -> Result<()> {
        if self.take(byte) { Ok(()) } else { self.fault(why) }
    }

    /// What kind of value comes next; nothing is taken.
    pub(in crate::ingest) fn kind(&mut self) -> Result<Kind> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            _ => self.fault("a value is expected"),
        }
    }

    /// Takes `true`, `false` or `null`, whose first letter is next.
    pub(in crate::ingest) fn word(&mut self, kind: Kind) -> Result<()> {
        let word = match kind {
            Kind::True => "true",
            Kind::False => "false",
            _ => "null",
        };
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.fault("only true, false and null are words");
        }
        self.at += word.len();
        Ok(())
    }

    /// Takes a number and returns its text, which is a JSON number.
    pub(in crate::ingest) fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fault("a digit is expected"),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.some_digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn byte(&self) -> Option<u8> {
        self.bytes().get(self.at).copied()
    }

    fn digits(&mut self) {
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<()> {
        if !matches!(self.byte(), Some(b'0'..=b'9')) {
            return self.fault("a digit is expected");
        }
        self.digits();
        Ok(())
    }

    /// Takes a string, whose quote is next.
    pub(in crate::ingest) fn string(&mut self) -> Result<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        self.plain();
        if self.byte() == Some(b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut owned = String::with_capacity(64);
        owned.push_str(&self.text[start..self.at]);
        loop {
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => owned.push(self.escape()?),
                _ => return self.fault("a control character stands in a text: escape it"),
            }
            let start = self.at;
            self.plain();
            owned.push_str(&self.text[start..self.at]);
        }
    }

    /// Passes over what stands for itself in a string.
    fn plain(&mut self) {
        let rest = &self.bytes()[self.at..];
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        self.at += stop.unwrap_or(rest.len());
    }

    fn escape(&mut self) -> Result<char> {
        self.at += 1;
        let plain = match self.byte() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.fault("this is no escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// `\u` and four digits, or two of them for a character outside the basic plane.
    fn unicode(&mut self) -> Result<char> {
        let first = self.four_digits()?;
        if let Some(one) = char::from_u32(first) {
            return Ok(one);
        }
        let lone = "a surrogate stands alone";
        if !(0xd800..0xdc00).contains(&first) || self.byte() != Some(b'\\') {
            return self.fault(lone);
        }
        self.at += 1;
        if self.byte() != Some(b'u') {
            return self.fault(lone);
        }
        let second = self.four_digits()?;
        if !(0xdc00..0xe000).contains(&second) {
            return self.fault(lone);
        }
        let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(both).map_or_else(|| self.fault(lone), Ok)
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self.bytes().get(self.at + 1..self.at + 5).and_then(|digits| std::str::from_utf8(digits).ok());
        let hex = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(number) => {
                self.at += 5;
                Ok(number)
            }
            None => self.fault("four hexadecimal digits are expected"),
        }
    }

    /// Takes a value whole, whatever it is, and returns its text.
    pub(in crate::ingest) fn skip(&mut self, depth: usize) -> Result<&'a str> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::String => drop(self.string()?),
            Kind::Number => drop(self.number()?),
            Kind::True | Kind::False | Kind::Null => self.word(kind)?,
            Kind::Array => self.items(depth, |lexer| lexer.skip(depth + 1).map(drop))?,
            Kind::Object => self.members(depth, |lexer, _| lexer.skip(depth + 1).map(drop))?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Takes an array, calling `item` at each of its values.
    pub(in crate::ingest) fn items(
        &mut self,
        depth: usize,
        mut item: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.deeper(depth)?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the list is expected")?;
        }
    }

    /// Takes an object, calling `member` at each of its values.
    pub(in crate::ingest) fn members(
        &mut self,
        depth: usize,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>,
    ) -> Result<()> {
        self.deeper(depth)?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.fault("a field's name in quotes is expected");
            }
            let key = self.string()?;
            self.expect(b':', "a colon is expected")?;
            member(self, key)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma or the end of the object is expected")?;
        }
    }

    /// Takes the opening brace or bracket, if the nesting allows it.
    fn deeper(&mut self, depth: usize) -> Result<()> {
        if depth >= self.nesting {
            return Err(Syntax { at: self.at, why: "values are nested too deeply" });
        }
        self.at += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Result<&str> {
        let mut lexer = Lexer::new(text, 64);
        let value = lexer.skip(0)?;
        if lexer.peek().is_some() { lexer.fault("more") } else { Ok(value) }
    }

    #[test]
    fn strings_and_numbers_are_read_exactly() {
        let mut lexer = Lexer::new(r#""a\"b\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#, 64);
        assert_eq!(lexer.string().expect("valid"), "a\"b\\/\u{8}\u{c}\n\r\té😀é");
        for number in ["0", "-0", "10", "1.50", "1e5", "-1.5E-10", "123456789012345678901234567890"] {
            assert_eq!(Lexer::new(number, 64).number().expect("valid"), number);
        }
    }

    #[test]
    fn what_is_not_json_is_placed() {
        for (text, at) in [
            ("", 0),
            ("01", 1),
            ("-", 1),
            ("1.", 2),
            ("1e", 2),
            ("tru", 0),
            ("[1,]", 3),
            ("[1 2]", 3),
            ("{\"a\"}", 4),
            ("{a:1}", 1),
            ("{\"a\":1,}", 7),
            ("\"\\x\"", 2),
            ("\"\\ud800\"", 7),
            ("\"\\ud800\\u0041\"", 13),
            ("\"\u{1}\"", 1),
            ("\"abc", 4),
            ("[", 1),
            ("nul", 0),
            ("+1", 0),
            (".5", 0),
        ] {
            assert_eq!(whole(text).expect_err(text).at, at, "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(whole(&deep).expect_err("too deep").why, "values are nested too deeply");
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_serde_json(text in "[\\[\\]{}\",:0-9.eE+\\-\\\\utrfalsn d\u{1}é]{0,24}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // serde_json refuses numbers too large for a float; to us they are text.
            let too_large = theirs.as_ref().is_err_and(|error| error.to_string().contains("number out of range"));
            proptest::prop_assert!(whole(&text).is_ok() == theirs.is_ok() || too_large, "{:?}", text);
        }
    }
}
