//! What the code's structure is, in figures: modules that import each other in circles, names of one
//! word, names that stand for several things, constants without a unit.

mod names;
mod source;
mod uses;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use names::NamedItem;
use source::ModuleSource;
use uses::ModuleArrows;

/// The figures of one crate.
struct CrateFigures {
    name: String,
    modules: usize,
    /// Modules that reach themselves through others. A module and those inside of it count as one house:
    /// an arrow between them closes no circle.
    circles: Vec<Vec<String>>,
    types: Vec<NamedItem>,
    constants: Vec<NamedItem>,
}

/// Prints the figures; with `details`, also what they count.
pub(crate) fn report(details: bool) -> Result<()> {
    let crates = source::crates()?.into_iter().map(figures).collect::<Vec<_>>();
    println!("crate       modules  in circles  types  of one word  constants  of one word  without unit");
    let mut total = [0; 7];
    for figures in &crates {
        let row = figures.row();
        total.iter_mut().zip(row).for_each(|(total, value)| *total += value);
        println!("{}", line(&figures.name, row));
    }
    println!("{}", line("all", total));
    let shared = shared(&crates);
    println!("type names that stand in more than two modules: {}", shared.len());
    if details {
        crates.iter().for_each(CrateFigures::print_details);
        for (name, places) in shared {
            println!("{name}: {}", places.into_iter().collect::<Vec<_>>().join(", "));
        }
    }
    Ok(())
}

/// Names that say too little.
pub(crate) struct VagueNames {
    /// Constants that are numbers and whose names say no unit, with their modules.
    pub(crate) unitless: Vec<String>,
    /// Names of types that are defined in more than two modules, and where.
    pub(crate) shared: BTreeMap<String, Vec<String>>,
}

/// The names of all crates that say too little.
pub(crate) fn vague_names() -> Result<VagueNames> {
    let crates = source::crates()?.into_iter().map(figures).collect::<Vec<_>>();
    let constants = crates.iter().flat_map(|figures| &figures.constants);
    let unitless = constants.filter(|constant| constant.lacks_unit());
    let shared = shared(&crates).into_iter();
    Ok(VagueNames {
        unitless: unitless.map(|constant| format!("{}::{}", constant.place, constant.name)).collect(),
        shared: shared
            .map(|(name, places)| (name.to_owned(), places.into_iter().map(str::to_owned).collect()))
            .collect(),
    })
}

/// How many modules of each crate are in circles.
pub(crate) fn circles() -> Result<Vec<(String, Vec<Vec<String>>)>> {
    Ok(source::crates()?.into_iter().map(|(name, modules)| (name, uses::circles(&modules))).collect())
}

/// What the modules at the root of each crate use of each other.
pub(crate) fn module_arrows() -> Result<Vec<(String, ModuleArrows)>> {
    Ok(source::crates()?.into_iter().map(|(name, modules)| (name, uses::root_arrows(&modules))).collect())
}

fn figures((name, modules): (String, Vec<ModuleSource>)) -> CrateFigures {
    let circles = uses::circles(&modules);
    let (mut types, mut constants) = (Vec::new(), Vec::new());
    for module in &modules {
        names::collect(&format!("{name}::{}", module.path), &module.items, &mut types, &mut constants);
    }
    CrateFigures { name, modules: modules.len(), circles, types, constants }
}

fn line(name: &str, [modules, circles, types, one, constants, one_constant, unitless]: [usize; 7]) -> String {
    let of =
        |part: usize, whole: usize| format!("{part} ({} %)", (100 * part).checked_div(whole).unwrap_or(0));
    format!(
        "{name:<11} {modules:>7}  {:>10}  {types:>5}  {:>11}  {constants:>9}  {:>11}  {unitless:>12}",
        of(circles, modules),
        of(one, types),
        of(one_constant, constants),
    )
}

impl CrateFigures {
    fn row(&self) -> [usize; 7] {
        let one_word = |named: &[NamedItem]| named.iter().filter(|named| named.words() == 1).count();
        [
            self.modules,
            self.circles.iter().map(Vec::len).sum(),
            self.types.len(),
            one_word(&self.types),
            self.constants.len(),
            one_word(&self.constants),
            self.constants.iter().filter(|constant| constant.lacks_unit()).count(),
        ]
    }

    fn print_details(&self) {
        for circle in &self.circles {
            println!("circle in {}: {}", self.name, circle.join(", "));
        }
        for named in self.types.iter().filter(|named| named.words() == 1) {
            println!("one word: {} {}", named.place, named.name);
        }
        for constant in self.constants.iter().filter(|constant| constant.lacks_unit()) {
            println!("no unit: {} {}", constant.place, constant.name);
        }
    }
}

/// The names of types that are defined in more than two modules, and where.
fn shared(crates: &[CrateFigures]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut places: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for named in crates.iter().flat_map(|figures| &figures.types) {
        places.entry(&named.name).or_default().insert(&named.place);
    }
    places.retain(|_, places| places.len() > 2);
    places
}
