use std::io;

use crate::bindings::eyot::ml::artifacts;
use crate::{Error, Result};

/// A content-addressed file that a step was handed, or has written.
pub struct Artifact(artifacts::Artifact);

impl Artifact {
    /// `sha256:` and 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        self.0.digest()
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.0.size()
    }

    /// The media type given when it was written.
    pub fn media_type(&self) -> String {
        self.0.media_type()
    }

    /// Its bytes as a stream; memory stays small however large it is.
    pub fn reader(&self) -> io::BufReader<Reader<'_>> {
        io::BufReader::with_capacity(1 << 16, Reader { artifact: &self.0, offset: 0 })
    }

    /// All of its bytes.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size())?);
        io::Read::read_to_end(&mut Reader { artifact: &self.0, offset: 0 }, &mut bytes)?;
        Ok(bytes)
    }

    /// All of it as text.
    ///
    /// Fails when it is not UTF-8.
    pub fn text(&self) -> Result<String> {
        String::from_utf8(self.bytes()?)
            .map_err(|_| Error::invalid(format!("{} is not UTF-8 text", self.digest())))
    }

    /// Writes bytes as a new artifact.
    pub fn write(media_type: &str, bytes: &[u8]) -> Result<Self> {
        let mut writer = Writer::new(media_type);
        io::Write::write_all(&mut writer, bytes)?;
        writer.finish()
    }

    pub(crate) fn inner(&self) -> &artifacts::Artifact {
        &self.0
    }

    #[doc(hidden)]
    pub fn into_inner(self) -> artifacts::Artifact {
        self.0
    }
}

impl From<artifacts::Artifact> for Artifact {
    fn from(artifact: artifacts::Artifact) -> Self {
        Self(artifact)
    }
}

/// Reads an artifact from its beginning.
pub struct Reader<'a> {
    artifact: &'a artifacts::Artifact,
    offset: u64,
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self
            .artifact
            .read(self.offset, buffer.len() as u64)
            .map_err(|error| io::Error::other(Error::from(error)))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// Writes an artifact. Dropped without [`Writer::finish`], it never existed.
pub struct Writer {
    inner: artifacts::Writer,
    buffer: Vec<u8>,
}

/// Bytes that are gathered before the host is called.
const BUFFER: usize = 1 << 16;

impl Writer {
    /// Starts an artifact of a media type, such as `text/csv`.
    pub fn new(media_type: &str) -> Self {
        Self { inner: artifacts::Writer::new(media_type), buffer: Vec::with_capacity(BUFFER) }
    }

    /// Ends the artifact and makes it durable.
    pub fn finish(mut self) -> Result<Artifact> {
        io::Write::flush(&mut self)?;
        Ok(Artifact(artifacts::Writer::finish(self.inner)?))
    }
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.inner.write(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| io::Error::other(Error::from(error)))
    }
}
