//! Content codings of bodies: gzip, deflate and zstd, both ways.

use std::io::{Read, Write as _};

use bytes::Bytes;
use eyot_core::{Error, Result, ResultExt};
use flate2::Compression;

use crate::protocol::too_large;

/// A coding that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Gzip,
    Deflate,
    Zstd,
}

/// An answer smaller than this is sent as it is: it fits into a few packets anyway.
pub(crate) const MIN_COMPRESSED_BYTES: usize = 4 << 10;

/// The largest window that a zstd body may ask for, as a power of two: 8 MiB, as RFC 9659 has it.
const ZSTD_WINDOW_BITS: u32 = 23;

impl ContentCoding {
    const ALL: [ContentCoding; 3] = [ContentCoding::Zstd, ContentCoding::Gzip, ContentCoding::Deflate];

    /// The coding of that name; `None` for `identity`.
    ///
    /// Fails with `Unsupported` for any other.
    pub(crate) fn of_request(name: &str) -> Result<Option<Self>> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(ContentCoding::Gzip)),
            "deflate" => Ok(Some(ContentCoding::Deflate)),
            "zstd" => Ok(Some(ContentCoding::Zstd)),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(Error::unsupported(format!("a body in '{shown}' is not read"))
                    .hint("gzip, deflate and zstd are, one at a time"))
            }
        }
    }

    /// The coding that an `Accept-Encoding` likes best; of several the one that costs least.
    pub(crate) fn accepted(header: &str) -> Option<Self> {
        let quality = |coding: &ContentCoding| {
            let weight = |name: &str| {
                header.split(',').find_map(|item| {
                    let mut parts = item.split(';').map(str::trim);
                    let named = parts.next().is_some_and(|found| found.eq_ignore_ascii_case(name));
                    let weight = parts
                        .find_map(|part| part.strip_prefix("q="))
                        .map(|weight| weight.parse().unwrap_or(0.0));
                    named.then(|| weight.unwrap_or(1.0_f32))
                })
            };
            weight(coding.as_str()).or_else(|| weight("*")).filter(|weight| *weight > 0.0)
        };
        let mut best: Option<(f32, Self)> = None;
        for coding in Self::ALL {
            if let Some(weight) = quality(&coding)
                && best.is_none_or(|(other, _)| weight > other)
            {
                best = Some((weight, coding));
            }
        }
        best.map(|(_, coding)| coding)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Deflate => "deflate",
            ContentCoding::Zstd => "zstd",
        }
    }

    /// Undoes the coding. Fails with `TooLarge` as soon as more than `limit` bytes come out, however
    /// few went in.
    pub(crate) fn decompress(self, compressed: &Bytes, limit: u64) -> Result<Bytes> {
        let guess = (compressed.len() as u64).saturating_mul(4).min(limit);
        let mut whole = Vec::with_capacity(usize::try_from(guess).unwrap_or_default());
        let read = match self {
            ContentCoding::Gzip => {
                flate2::bufread::MultiGzDecoder::new(&compressed[..]).take(limit + 1).read_to_end(&mut whole)
            }
            // The name means zlib's form, and some clients send the bare one.
            ContentCoding::Deflate if is_zlib(compressed) => {
                flate2::bufread::ZlibDecoder::new(&compressed[..]).take(limit + 1).read_to_end(&mut whole)
            }
            ContentCoding::Deflate => {
                flate2::bufread::DeflateDecoder::new(&compressed[..]).take(limit + 1).read_to_end(&mut whole)
            }
            ContentCoding::Zstd => zstd::Decoder::with_buffer(&compressed[..]).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_BITS)?;
                decoder.take(limit + 1).read_to_end(&mut whole)
            }),
        };
        read.map_err(|error| {
            Error::invalid(format!("the request's body is not {}", self.as_str())).because(error)
        })?;
        if whole.len() as u64 > limit { Err(too_large(limit)) } else { Ok(whole.into()) }
    }

    /// Applies the coding, fast rather than tight: the answer is waited for.
    pub(crate) fn compress(self, plain: &[u8]) -> Result<Bytes> {
        let compressed = match self {
            ContentCoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            ContentCoding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(plain).and_then(|()| encoder.finish())
            }
            ContentCoding::Zstd => zstd::bulk::compress(plain, 1),
        };
        compressed.map(Bytes::from).context(|| "the answer cannot be compressed".to_owned())
    }
}

/// Whether the two bytes of zlib's header stand in front.
fn is_zlib(bytes: &[u8]) -> bool {
    bytes
        .first_chunk::<2>()
        .is_some_and(|head| head[0] & 0x0f == 8 && u16::from_be_bytes(*head).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use eyot_core::ErrorKind;

    use super::*;

    #[test]
    fn what_is_packed_unpacks_and_bombs_do_not() {
        let plain = vec![7_u8; 1 << 20];
        for coding in ContentCoding::ALL {
            let compressed = coding.compress(&plain).unwrap();
            assert!(compressed.len() < 20_000, "{coding:?}");
            assert_eq!(coding.decompress(&compressed, 1 << 20).unwrap(), plain, "{coding:?}");
            assert_eq!(
                coding.decompress(&compressed, (1 << 20) - 1).unwrap_err().kind(),
                ErrorKind::TooLarge,
                "{coding:?}"
            );
            for broken in
                [compressed.slice(..compressed.len() / 2), Bytes::from_static(b"no such thing"), Bytes::new()]
            {
                assert_eq!(
                    coding.decompress(&broken, 1 << 20).unwrap_err().kind(),
                    ErrorKind::Invalid,
                    "{coding:?} {broken:?}"
                );
            }
        }
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        bare.write_all(b"hello").unwrap();
        assert_eq!(ContentCoding::Deflate.decompress(&bare.finish().unwrap().into(), 9).unwrap(), "hello");
    }

    #[test]
    fn clients_choose() {
        for (header, chosen) in [
            ("gzip", Some(ContentCoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(ContentCoding::Zstd)),
            ("deflate;q=0.5, gzip;q=0.8", Some(ContentCoding::Gzip)),
            ("GZIP;q=0, *", Some(ContentCoding::Zstd)),
            ("zstd;q=0,gzip;q=0,deflate;q=0", None),
            ("identity, br", None),
            ("", None),
            ("gzip;q=x", None),
        ] {
            assert_eq!(ContentCoding::accepted(header), chosen, "{header}");
        }
        assert_eq!(ContentCoding::of_request("identity").unwrap(), None);
        assert_eq!(ContentCoding::of_request("br").unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
