//! The names of types and constants.

use syn::visit::{self, Visit};
use syn::{Item, Type};

/// A type or a constant.
pub(super) struct NamedItem {
    pub(super) name: String,
    /// The module that defines it.
    pub(super) place: String,
    /// Whether it holds a number or a time.
    is_number: bool,
}

/// The last words of names that say what is counted.
const UNITS: &[&str] = &[
    "BYTES",
    "BITS",
    "KIB",
    "MIB",
    "GIB",
    "SECONDS",
    "MILLISECONDS",
    "MICROSECONDS",
    "NANOSECONDS",
    "MINUTES",
    "HOURS",
    "DAYS",
    "TIMEOUT",
    "INTERVAL",
    "DELAY",
    "PERIOD",
    "AGE",
    "LIFETIME",
    "COUNT",
    "LENGTH",
    "DEPTH",
    "ROWS",
    "COLUMNS",
    "LINES",
    "FILES",
    "ENTRIES",
    "ITEMS",
    "THREADS",
    "CONNECTIONS",
    "REQUESTS",
    "CALLS",
    "ATTEMPTS",
    "RETRIES",
    "ELEMENTS",
    "DIGITS",
    "CHARACTERS",
    "PERCENT",
    "RATIO",
    "FACTOR",
    "FRACTION",
    "PER_SECOND",
    "VERSION",
    "PORT",
    "STATUS",
    "CODE",
    "MASK",
    "SHIFT",
    "SEED",
    "ID",
    "EXPONENT",
    "RANK",
    "DIMENSIONS",
    "STEPS",
    "TICKS",
    "BLOBS",
    "MANIFESTS",
    "TAGS",
    "NAMES",
    "EVENTS",
    "SAMPLES",
    "BUCKETS",
    "TURNS",
    "SLOTS",
    "INSTANCES",
    "MODELS",
    "NODES",
    "LEVEL",
    "STREAMS",
    "HANDLES",
    "FRAMES",
    "MESSAGES",
    "RUNS",
    "PLACES",
    "PIXELS",
    "EPOCH",
    "TOLERANCE",
    "WEIGHT",
    "PRIORITY",
];

impl NamedItem {
    /// `RunLimits` has two, `MAX_BODY_BYTES` three.
    pub(super) fn words(&self) -> usize {
        if self.name.contains('_') || !self.name.contains(char::is_lowercase) {
            return self.name.split('_').filter(|word| !word.is_empty()).count();
        }
        let letters: Vec<char> = self.name.chars().collect();
        let starts = letters.windows(2).filter(|pair| pair[1].is_uppercase() && !pair[0].is_uppercase());
        1 + starts.count()
    }

    /// Whether it is a number whose name does not say of what.
    pub(super) fn lacks_unit(&self) -> bool {
        let says = |unit: &&str| self.name == **unit || self.name.ends_with(&format!("_{unit}"));
        self.is_number && !UNITS.iter().any(says)
    }
}

/// Adds what the items of a module define, functions' own items included.
pub(super) fn collect(
    place: &str,
    items: &[Item],
    types: &mut Vec<NamedItem>,
    constants: &mut Vec<NamedItem>,
) {
    let mut collector = NameCollector { place, types, constants };
    items.iter().for_each(|item| collector.visit_item(item));
}

struct NameCollector<'a> {
    place: &'a str,
    types: &'a mut Vec<NamedItem>,
    constants: &'a mut Vec<NamedItem>,
}

impl NameCollector<'_> {
    fn add_type(&mut self, name: &syn::Ident) {
        self.types.push(NamedItem { name: name.to_string(), place: self.place.to_owned(), is_number: false });
    }

    fn add_constant(&mut self, name: &syn::Ident, ty: &Type) {
        if name != "_" {
            let is_number = is_number(ty);
            self.constants.push(NamedItem {
                name: name.to_string(),
                place: self.place.to_owned(),
                is_number,
            });
        }
    }
}

impl<'ast> Visit<'ast> for NameCollector<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Struct(item) => self.add_type(&item.ident),
            Item::Enum(item) => self.add_type(&item.ident),
            Item::Trait(item) => self.add_type(&item.ident),
            Item::Union(item) => self.add_type(&item.ident),
            Item::Type(item) => self.add_type(&item.ident),
            Item::Const(item) => self.add_constant(&item.ident, &item.ty),
            Item::Static(item) => self.add_constant(&item.ident, &item.ty),
            _ => {}
        }
        visit::visit_item(self, item);
    }
}

/// A time says its unit in its value, and not what it is the time of: that, its name has to say anyway.
fn is_number(ty: &Type) -> bool {
    let Type::Path(path) = ty else { return false };
    let name = path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
    matches!(
        name.as_str(),
        "u8" | "u16"
            | "u32"
            | "u64"
            | "u128"
            | "usize"
            | "i8"
            | "i16"
            | "i32"
            | "i64"
            | "i128"
            | "isize"
            | "f32"
            | "f64"
    )
}
