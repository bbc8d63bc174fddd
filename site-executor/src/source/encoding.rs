//! The character encodings a CSV file may use.
//!
//! Bytes that do not exist in the declared encoding are an error, never a replacement character.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;

/// How the bytes of a CSV file stand for characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8", alias = "utf8")]
    Utf8,
    /// ISO 8859-1: every byte is the character of the same number.
    #[serde(rename = "latin1", alias = "iso-8859-1")]
    Latin1,
    /// Windows code page 1252, which five bytes (81, 8D, 8F, 90, 9D) do not belong to.
    #[serde(rename = "windows-1252", alias = "cp1252")]
    Windows1252,
}

impl Encoding {
    /// The text of `bytes`, or `None` if they are not valid in this encoding.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        if let (true, Ok(text)) = (self == Encoding::Utf8 || bytes.is_ascii(), std::str::from_utf8(bytes)) {
            return Some(Cow::Borrowed(text));
        }
        match self {
            Encoding::Utf8 => None,
            Encoding::Latin1 => Some(Cow::Owned(bytes.iter().copied().map(char::from).collect())),
            Encoding::Windows1252 => {
                bytes.iter().copied().map(windows_1252).collect::<Option<String>>().map(Cow::Owned)
            }
        }
    }

    /// The bytes after a byte order mark, if this encoding has one.
    pub(crate) fn strip_byte_order_mark(self, bytes: &[u8]) -> &[u8] {
        match self {
            Encoding::Utf8 => bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes),
            Encoding::Latin1 | Encoding::Windows1252 => bytes,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Latin1 => "latin1",
            Encoding::Windows1252 => "windows-1252",
        })
    }
}

/// One character of code page 1252; only 80 to 9F differ from ISO 8859-1.
fn windows_1252(byte: u8) -> Option<char> {
    let character = match byte {
        0x80 => '€',
        0x82 => '‚',
        0x83 => 'ƒ',
        0x84 => '„',
        0x85 => '…',
        0x86 => '†',
        0x87 => '‡',
        0x88 => 'ˆ',
        0x89 => '‰',
        0x8A => 'Š',
        0x8B => '‹',
        0x8C => 'Œ',
        0x8E => 'Ž',
        0x91 => '‘',
        0x92 => '’',
        0x93 => '“',
        0x94 => '”',
        0x95 => '•',
        0x96 => '–',
        0x97 => '—',
        0x98 => '˜',
        0x99 => '™',
        0x9A => 'š',
        0x9B => '›',
        0x9C => 'œ',
        0x9E => 'ž',
        0x9F => 'Ÿ',
        0x81 | 0x8D | 0x8F | 0x90 | 0x9D => return None,
        other => char::from(other),
    };
    Some(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_each_encoding_defines() {
        assert_eq!(Encoding::Utf8.decode("café".as_bytes()).as_deref(), Some("café"));
        assert_eq!(Encoding::Latin1.decode(b"caf\xE9").as_deref(), Some("café"));
        assert_eq!(Encoding::Windows1252.decode(b"\x80 5").as_deref(), Some("€ 5"));
        assert_eq!(Encoding::Latin1.decode("é".as_bytes()).as_deref(), Some("Ã©"));
    }

    #[test]
    fn refuses_bytes_outside_the_encoding() {
        assert_eq!(Encoding::Utf8.decode(b"caf\xE9"), None);
        assert_eq!(Encoding::Windows1252.decode(b"\x81"), None);
    }
}
