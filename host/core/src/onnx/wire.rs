//! Messages of protobuf, field by field, whatever they mean.

/// A message, and where in the file it begins.
#[derive(Clone, Copy)]
pub(super) struct WireMessage<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) start: usize,
}

/// What one field holds.
pub(super) enum WireValue<'a> {
    Number(u64),
    /// A text, bytes, packed numbers, or another message: only who knows the field knows which.
    Message(WireMessage<'a>),
    /// A number of four or eight bytes, of which nothing here asks.
    Fixed,
    /// Where a group begins or ends. Its fields count as fields of the message around it.
    GroupEdge,
}

impl<'a> WireMessage<'a> {
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0 }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// Its fields; the last item is none where the bytes are no message.
    pub(super) fn fields(&self) -> impl Iterator<Item = Option<(u64, WireValue<'a>)>> + use<'a> {
        let mut reader = WireReader { rest: self.bytes, start: self.start };
        std::iter::from_fn(move || {
            if reader.rest.is_empty() {
                return None;
            }
            let field = reader.field();
            if field.is_none() {
                reader.rest = &[];
            }
            Some(field)
        })
    }

    /// The fields with a length, as far as the bytes are a message.
    pub(super) fn messages(&self) -> impl Iterator<Item = (u64, WireMessage<'a>)> + use<'a> {
        self.fields().map_while(|field| field).filter_map(|(number, value)| match value {
            WireValue::Message(message) => Some((number, message)),
            _ => None,
        })
    }

    /// Packed numbers; the last item is none where the bytes are none.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Option<u64>> + use<'a> {
        let mut reader = WireReader { rest: self.bytes, start: self.start };
        std::iter::from_fn(move || {
            if reader.rest.is_empty() {
                return None;
            }
            let number = reader.number();
            if number.is_none() {
                reader.rest = &[];
            }
            Some(number)
        })
    }
}

/// Bytes that are read as the fields of a message, one after another.
struct WireReader<'a> {
    rest: &'a [u8],
    /// Where in the file they begin.
    start: usize,
}

impl<'a> WireReader<'a> {
    fn field(&mut self) -> Option<(u64, WireValue<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => WireValue::Number(self.number()?),
            1 => self.take(8).map(|_| WireValue::Fixed)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                WireValue::Message(self.take(length)?)
            }
            3 | 4 => WireValue::GroupEdge,
            5 => self.take(4).map(|_| WireValue::Fixed)?,
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<WireMessage<'a>> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        let message = WireMessage { bytes, start: self.start };
        (self.rest, self.start) = (rest, self.start + length);
        Some(message)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            (self.rest, self.start) = (rest, self.start + 1);
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}
