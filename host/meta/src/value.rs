//! What a statement is given, in the four types that both databases have.

/// A value for a parameter of a statement. A missing one still has a type: PostgreSQL asks for it.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlValue {
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($from:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$from> for SqlValue {
            fn from(value: $from) -> Self {
                Self::$variant(Some(value.into()))
            }
        }
        impl From<Option<$from>> for SqlValue {
            fn from(value: Option<$from>) -> Self {
                Self::$variant(value.map(Into::into))
            }
        })+
    };
}

values! {
    i64 => Integer,
    i32 => Integer,
    u32 => Integer,
    f64 => Real,
    String => Text,
    &str => Text,
    Vec<u8> => Bytes,
    &[u8] => Bytes,
}

/// Flags are numbers: SQLite has no other, and PostgreSQL's own type could not be read back from SQLite.
impl From<bool> for SqlValue {
    fn from(value: bool) -> Self {
        Self::Integer(Some(i64::from(value)))
    }
}

impl From<&String> for SqlValue {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<&Vec<u8>> for SqlValue {
    fn from(value: &Vec<u8>) -> Self {
        Self::Bytes(Some(value.clone()))
    }
}

impl From<&Option<String>> for SqlValue {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}
