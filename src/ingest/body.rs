//! The bytes of a request → text, within limits.

use std::io::Read;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip
    Gzip,
    /// Zstandard
    Zstd,
}

impl Encoding {
    /// Reads a `Content-Encoding` header.
    pub fn parse(header: Option<&str>) -> Result<Self> {
        match header.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Self::Identity),
            Some("gzip" | "x-gzip") => Ok(Self::Gzip),
            Some("zstd") => Ok(Self::Zstd),
            Some(other) => Err(Error::new(
                Kind::UnsupportedMedia,
                format!("Content-Encoding {other:?} is not spoken here: send gzip, zstd or none"),
            )
            .with_code("unsupported_encoding")),
        }
    }
}

/// The text of a body; one that has more than `most` bytes when decompressed is refused before it is held.
pub(super) fn text_of(body: Bytes, encoding: Encoding, most: usize) -> Result<String> {
    let bytes = match encoding {
        Encoding::Identity => body.to_vec(),
        Encoding::Gzip => inflate(flate2::read::MultiGzDecoder::new(&*body), "gzip", most)?,
        Encoding::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(&*body);
            inflate(decoder.map_err(|error| damaged("zstd").because(error))?, "zstd", most)?
        }
    };
    if bytes.len() > most {
        return Err(too_large(most));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::malformed(format!("Body is not UTF-8 from byte {at} on")).with_code("invalid_utf8")
    })
}

fn inflate(decoder: impl Read, name: &str, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut limited = decoder.take(most as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(|error| damaged(name).because(error))?;
    if bytes.len() > most {
        return Err(too_large(most));
    }
    Ok(bytes)
}

fn damaged(name: &str) -> Error {
    Error::malformed(format!("Body is not valid {name} data")).with_code("malformed_encoding")
}

fn too_large(most: usize) -> Error {
    Error::new(Kind::TooLarge, format!("Body has more than {most} bytes when decompressed: send less at once"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> [(Encoding, Bytes); 2] {
        let gzip = crate::catalog::loaded::gzip(text).expect("compresses");
        let zstd = zstd::encode_all(text, 1).expect("compresses");
        [(Encoding::Gzip, gzip.into()), (Encoding::Zstd, zstd.into())]
    }

    #[test]
    fn bombs_are_refused_before_they_are_held() {
        let zeros = vec![b' '; 10 << 20];
        for (encoding, bytes) in packed(&zeros) {
            assert!(bytes.len() < 1 << 20, "it is a bomb");
            assert_eq!(text_of(bytes, encoding, 1 << 20).expect_err("too large").kind(), Kind::TooLarge);
        }
        for (encoding, bytes) in packed(b"{}") {
            assert_eq!(text_of(bytes.clone(), encoding, 100).expect("fits"), "{}");
            assert_eq!(
                text_of(bytes.slice(..bytes.len() - 3), encoding, 100).expect_err("cut").kind(),
                Kind::Malformed
            );
        }
        let bad = text_of(Bytes::from_static(b"ab\xff"), Encoding::Identity, 100).expect_err("not UTF-8");
        assert!(bad.message().contains("byte 2"), "{bad}");
        assert!(Encoding::parse(Some("br")).is_err() && Encoding::parse(Some("GZIP")).is_ok());
    }
}
