//! What types have that are one text on the wire, however they are held.

/// Written as they are shown, and read as they are parsed.
macro_rules! serde_as_text {
    ($($type:ty),+) => {
        $(
            impl serde::Serialize for $type {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> serde::Deserialize<'de> for $type {
                fn deserialize<D: serde::Deserializer<'de>>(de: D) -> std::result::Result<Self, D::Error> {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(de)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }
        )+
    };
}

/// Shown, lent and looked up as the text that they hold.
macro_rules! held_as_text {
    ($($type:ty: $field:tt),+) => {
        $(
            impl std::fmt::Display for $type {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.pad(&self.$field)
                }
            }

            impl AsRef<str> for $type {
                fn as_ref(&self) -> &str {
                    &self.$field
                }
            }

            impl std::borrow::Borrow<str> for $type {
                fn borrow(&self) -> &str {
                    &self.$field
                }
            }
        )+
    };
}

held_as_text!(crate::Name: 0, crate::ProjectName: 0, crate::ScopedName: text);
serde_as_text!(
    crate::ByteCount,
    crate::Digest,
    crate::Name,
    crate::Period,
    crate::ProjectName,
    crate::Reference,
    crate::ScopedName
);
