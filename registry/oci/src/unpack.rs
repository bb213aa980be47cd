//! Packed models: of an archive only the ONNX file is read. Nothing is ever written under a name from an archive.

use std::io::{BufReader, Read};

use bytes::Bytes;
use eyot_core::{Error, Result, ResultExt as _};

/// The format of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArchiveFormat {
    Tar,
    TarGzip,
    TarZstd,
}

/// Bytes that an archive may unpack to: ONNX itself ends at 2 GiB.
const MAX_UNPACKED_BYTES: u64 = 4 << 30;
/// The largest compression ratio. Weights hardly compress at all.
const MAX_UNPACKED_RATIO: u64 = 100;
/// What a small archive may unpack to whatever its length.
const MIN_UNPACKED_BYTES: u64 = 1 << 20;
/// Files of an archive.
const MAX_ARCHIVE_FILES: usize = 10_000;
/// The largest window of a zstd archive, as a power of two.
const MAX_WINDOW_EXPONENT: u32 = 27;
const PIECE_BYTES: usize = 1 << 20;

impl ArchiveFormat {
    /// By the end of a layer's media type: `….v1.tar+gzip`.
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        [(".tar", Self::Tar), (".tar+gzip", Self::TarGzip), (".tar+zstd", Self::TarZstd)]
            .into_iter()
            .find_map(|(end, packing)| media_type.ends_with(end).then_some(packing))
    }
}

/// Hands the only ONNX file of an archive of `length` bytes to `sink`, piece by piece; `false` when there
/// is none, or more than one.
///
/// Fails with `Invalid` when the archive cannot be read, and with `TooLarge` when it unpacks to more than
/// any honest one.
pub(crate) fn onnx(
    archive: impl Read,
    packing: ArchiveFormat,
    length: u64,
    mut sink: impl FnMut(Bytes) -> Result<()>,
) -> Result<bool> {
    let archive = BufReader::with_capacity(PIECE_BYTES, archive);
    let reader: Box<dyn Read> = match packing {
        ArchiveFormat::Tar => Box::new(archive),
        ArchiveFormat::TarGzip => Box::new(flate2::bufread::MultiGzDecoder::new(archive)),
        ArchiveFormat::TarZstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(archive)?;
            decoder.window_log_max(MAX_WINDOW_EXPONENT)?;
            Box::new(decoder)
        }
    };
    let most = MAX_UNPACKED_BYTES.min(length.saturating_mul(MAX_UNPACKED_RATIO).max(MIN_UNPACKED_BYTES));
    let mut tar = tar::Archive::new(BoundedReader { reader, left: most });
    let mut found = 0;
    // As they are written: the library would read long names and extended headers whole, however long.
    let entries = tar.entries().context(unreadable)?.raw(true);
    let mut long_name = None;
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(refused)?;
        if number >= MAX_ARCHIVE_FILES {
            return Err(Error::too_large(format!("the archive has more than {MAX_ARCHIVE_FILES} files")));
        }
        // Links and devices are not followed, not even looked at.
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let text = read_header(&mut entry)?;
            let name = if kind.is_gnu_longname() { Some(text) } else { pax_path(&text)? };
            long_name = name.or(long_name);
            continue;
        }
        if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
            continue;
        }
        let is_file = kind.is_file();
        let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = name.strip_suffix(b"\0").unwrap_or(&name).to_ascii_lowercase();
        if !is_file || !name.ends_with(b".onnx") {
            continue;
        }
        found += 1;
        if found > 1 {
            return Ok(false);
        }
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            (&mut entry).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(refused)?;
            if piece.is_empty() {
                break;
            }
            sink(piece.into())?;
        }
    }
    Ok(found == 1)
}

/// The largest name or extended header of a file.
const MAX_HEADER_BYTES: u64 = 64 << 10;

/// What stands before a file and says more of it.
fn read_header(entry: &mut impl Read) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    entry.take(MAX_HEADER_BYTES + 1).read_to_end(&mut text).map_err(refused)?;
    if text.len() as u64 > MAX_HEADER_BYTES {
        return Err(Error::too_large(format!(
            "the archive has a header of more than {MAX_HEADER_BYTES} bytes"
        )));
    }
    Ok(text)
}

/// The path in an extended header: records of `LENGTH KEY=VALUE` and a line feed.
fn pax_path(mut text: &[u8]) -> Result<Option<Vec<u8>>> {
    let wrong = || Error::invalid("an extended header of the archive cannot be read");
    let mut path = None;
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let (digits, _) = text.split_at(space);
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        let record = length.and_then(|length| text.get(space + 1..length)).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        let (key, value) = record.split_at(equals);
        match key {
            b"path" => path = Some(value.get(1..).unwrap_or_default().to_vec()),
            // The size of what a plain header cannot say: larger than anything that is served.
            b"size" => return Err(Error::too_large("a file of the archive has 8 GiB or more")),
            _ => {}
        }
        text = text.get(length.unwrap_or_default()..).unwrap_or_default();
    }
    Ok(path)
}

fn unreadable() -> String {
    "the archive cannot be read".to_owned()
}

fn refused(error: std::io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(ours) => Error::new(ours.kind(), ours.message()),
        None => Error::invalid(unreadable()).because(error),
    }
}

/// Limits the bytes that an archive unpacks to.
struct BoundedReader<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for BoundedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(std::io::Error::other(Error::too_large(
                    "the archive unpacks to more than a hundred times its length",
                )));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;

    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            // By hand: the library itself would refuse some of these names.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn link(to: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "model.onnx", to).unwrap();
        tar.into_inner().unwrap()
    }

    fn unpack(archive: &[u8], packing: ArchiveFormat) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let found = onnx(archive, packing, archive.len() as u64, |piece| {
            bytes.extend_from_slice(&piece);
            Ok(())
        })?;
        Ok(found.then_some(bytes))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_only_model_of_an_archive_is_found() {
        let model = tar(&[("README.md", b"read"), ("dir/Model.ONNX", b"weights")]);
        let zstd = zstd::encode_all(model.as_slice(), 3).unwrap();
        for (archive, packing) in [
            (model.clone(), ArchiveFormat::Tar),
            (gzip(&model), ArchiveFormat::TarGzip),
            (zstd, ArchiveFormat::TarZstd),
        ] {
            assert_eq!(unpack(&archive, packing).unwrap().as_deref(), Some(b"weights".as_slice()));
        }
        for none in [tar(&[]), tar(&[("a.txt", b"x")]), tar(&[("a.onnx", b"x"), ("b.onnx", b"y")])] {
            assert_eq!(unpack(&none, ArchiveFormat::Tar).unwrap(), None);
        }
        for (media_type, packing) in [
            ("application/vnd.kitops.modelkit.model.v1.tar", Some(ArchiveFormat::Tar)),
            ("application/vnd.cncf.model.weight.v1.tar+gzip", Some(ArchiveFormat::TarGzip)),
            ("application/vnd.cncf.model.weight.v1.tar+zstd", Some(ArchiveFormat::TarZstd)),
            ("application/vnd.cncf.model.weight.v1.raw", None),
        ] {
            assert_eq!(ArchiveFormat::of(media_type), packing, "{media_type}");
        }
    }

    /// Headers of a file, as long as they claim, before a model.
    fn with_head(kind: tar::EntryType, text: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn long_names_are_read_within_bounds() {
        let name = format!("{}model.onnx", "a/".repeat(200));
        let record = format!(" path={name}\n");
        let pax = format!("{}{record}", record.len() + 3);
        for (kind, text) in [
            (tar::EntryType::GNULongName, format!("{name}\0")),
            (tar::EntryType::GNULongName, name.clone()),
            (tar::EntryType::XHeader, pax),
        ] {
            let found = unpack(&with_head(kind, text.as_bytes()), ArchiveFormat::Tar).unwrap();
            assert_eq!(found.as_deref(), Some(b"x".as_slice()), "{kind:?}");
        }
        let long = vec![b'a'; 64 << 20];
        for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
            let error = unpack(&gzip(&with_head(kind, &long)), ArchiveFormat::TarGzip).unwrap_err();
            assert_eq!(error.kind(), eyot_core::ErrorKind::TooLarge, "{kind:?}");
        }
        for text in ["x", "5", "999 path=x\n", "0 path=x\n", "9 path=x", "8 pathx\n", " \n"] {
            let refused = unpack(&with_head(tar::EntryType::XHeader, text.as_bytes()), ArchiveFormat::Tar);
            assert_eq!(refused.unwrap_err().kind(), eyot_core::ErrorKind::Invalid, "{text:?}");
        }
        // Of links and of all files only what is skipped.
        for kind in [tar::EntryType::GNULongLink, tar::EntryType::XGlobalHeader] {
            assert_eq!(unpack(&with_head(kind, &vec![b'a'; 1 << 20]), ArchiveFormat::Tar).unwrap(), None);
        }
    }

    #[test]
    fn tar_escape() {
        // Names are only ever compared: none of these leads anywhere.
        for name in ["../../etc/model.onnx", "/etc/model.onnx", "..\\model.onnx"] {
            assert_eq!(
                unpack(&tar(&[(name, b"x")]), ArchiveFormat::Tar).unwrap().as_deref(),
                Some(b"x".as_slice())
            );
        }
        assert_eq!(unpack(&link("/etc/passwd"), ArchiveFormat::Tar).unwrap(), None);
    }

    #[test]
    fn resource_exhaustion_by_an_archive() {
        let bomb = gzip(&tar(&[("model.onnx", &vec![0; 8 << 20])]));
        assert_eq!(unpack(&bomb, ArchiveFormat::TarGzip).unwrap_err().kind(), eyot_core::ErrorKind::TooLarge);
        let good = gzip(&tar(&[("model.onnx", b"weights")]));
        for cut in 0..good.len() {
            let _ = unpack(&good[..cut], ArchiveFormat::TarGzip);
        }
        for cut in [0, 1, 100, 511, 512, 600] {
            let _ = unpack(&tar(&[("model.onnx", b"weights")])[..cut], ArchiveFormat::Tar);
        }
        assert!(unpack(b"no zstd at all", ArchiveFormat::TarZstd).is_err());
    }
}
