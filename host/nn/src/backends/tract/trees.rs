//! Tree ensembles of ai.onnx.ml, computed here: tract's own give class 0 for two classes, and trust the file.
//!
//! The numbers are those of ONNX Runtime: sums in the type of the input, tree after tree.

use std::collections::HashMap;

use eyot_core::{Error, Result};
use tract_onnx::pb;

/// The trees of a node, which were checked: from each root every way ends at a leaf.
#[derive(Debug, PartialEq)]
pub(super) struct TreeEnsemble {
    steps: Vec<TreeStep>,
    roots: Vec<usize>,
    /// What leaves give: to which score, and how much.
    gives: Vec<(usize, f32)>,
    scores: usize,
    /// One more than the last column that is looked at.
    pub(super) columns: usize,
    base: Vec<f32>,
    outcome: SumOutcome,
}

#[derive(Debug, PartialEq)]
enum TreeStep {
    Branch { column: usize, mode: BranchMode, threshold: f32, missing: bool, yes: usize, no: usize },
    Leaf(std::ops::Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum BranchMode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

/// What becomes of the sums.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SumOutcome {
    Sum,
    /// Divided by the number of trees.
    Average,
    /// Two classes, of which one has a score. Shares of votes, if none is below zero.
    Binary {
        are_shares: bool,
        is_logistic: bool,
    },
    Classes(PostTransform),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum PostTransform {
    None,
    Logistic,
    Softmax,
}

/// Numbers as they are summed: in the type of the input.
pub(super) trait SumNumber: Copy + PartialOrd + std::ops::AddAssign {
    const ZERO: Self;
    fn of(weight: f32) -> Self;
    fn wide(self) -> f64;
    fn narrow(self) -> f32;
}

impl SumNumber for f32 {
    const ZERO: Self = 0.0;
    fn of(weight: f32) -> Self {
        weight
    }
    fn wide(self) -> f64 {
        self.into()
    }
    fn narrow(self) -> f32 {
        self
    }
}

impl SumNumber for f64 {
    const ZERO: Self = 0.0;
    fn of(weight: f32) -> Self {
        weight.into()
    }
    fn wide(self) -> f64 {
        self
    }
    fn narrow(self) -> f32 {
        self as f32
    }
}

impl TreeEnsemble {
    /// Fails with `Unsupported` for what is not computed here, and for trees that are none.
    pub(super) fn new(node: &pb::NodeProto) -> Result<Self> {
        let attributes = NodeAttributes(node);
        let is_classifier = node.op_type == "TreeEnsembleClassifier";
        let labels = attributes.labels();
        let scores = match is_classifier {
            true => labels,
            false => usize::try_from(attributes.int("n_targets", 1)).unwrap_or_default(),
        };
        if scores == 0 || scores > MAX_SCORE_COUNT || (is_classifier && scores < 2) {
            return Err(attributes.unsupported("has no scores that can be told apart"));
        }
        let (mut steps, ids) = attributes.steps()?;
        let roots = roots(&steps, &ids, &attributes)?;
        let prefix = if is_classifier { "class" } else { "target" };
        let gives = attributes.leaves(prefix, scores, &mut steps, &ids)?;
        let base = attributes.floats("base_values").to_vec();
        let outcome = attributes.outcome(is_classifier, scores, &gives, &base)?;
        let column = |step: &TreeStep| match step {
            TreeStep::Branch { column, .. } => column + 1,
            TreeStep::Leaf(_) => 0,
        };
        let columns = steps.iter().map(column).max().unwrap_or_default();
        Ok(Self { steps, roots, gives, scores, columns, base, outcome })
    }

    /// How many scores there are for each row.
    pub(super) fn scores(&self) -> usize {
        self.scores
    }

    /// The scores of a row that has the columns, and the place of the label that they come to.
    pub(super) fn row<N: SumNumber>(&self, row: &[N], scores: &mut [f32]) -> usize {
        let mut sums = vec![N::ZERO; self.scores];
        for root in &self.roots {
            let (mut at, mut left) = (*root, self.steps.len());
            while let Some(TreeStep::Branch { column, mode, threshold, missing, yes, no }) =
                self.steps.get(at)
            {
                let goes = row.get(*column).is_some_and(|value| mode.holds(*value, *threshold, *missing));
                at = if goes { *yes } else { *no };
                // Every way was found to end; this cannot be reached.
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            if let Some(TreeStep::Leaf(range)) = self.steps.get(at) {
                for (score, weight) in &self.gives[range.clone()] {
                    sums[*score] += N::of(*weight);
                }
            }
        }
        self.finish(&mut sums, scores)
    }

    fn finish<N: SumNumber>(&self, sums: &mut [N], scores: &mut [f32]) -> usize {
        if let SumOutcome::Binary { are_shares, is_logistic } = self.outcome {
            let given = self.gives.first().map_or(0, |(score, _)| *score);
            let mut sum = sums[given];
            self.base.iter().for_each(|base| sum += N::of(*base));
            let value = sum.narrow();
            let label = usize::from(sum.wide() > if are_shares { 0.5 } else { 0.0 });
            let both = match (are_shares, is_logistic) {
                (true, _) => [1.0 - value, value],
                (false, true) => [logistic(-value), logistic(value)],
                (false, false) => [-value, value],
            };
            scores.copy_from_slice(&both);
            return label;
        }
        for (sum, base) in sums.iter_mut().zip(&self.base) {
            *sum += N::of(*base);
        }
        let best = (1..sums.len()).fold(0, |best, at| if sums[at] > sums[best] { at } else { best });
        for (score, sum) in scores.iter_mut().zip(sums.iter()) {
            *score = match self.outcome {
                SumOutcome::Average => (sum.wide() / self.roots.len() as f64) as f32,
                _ => sum.narrow(),
            };
        }
        match self.outcome {
            SumOutcome::Classes(PostTransform::Logistic) => {
                scores.iter_mut().for_each(|score| *score = logistic(*score))
            }
            SumOutcome::Classes(PostTransform::Softmax) => softmax(scores),
            _ => {}
        }
        best
    }
}

/// A model with more is no model that anybody has, and would take memory for each row.
const MAX_SCORE_COUNT: usize = 1 << 16;

impl BranchMode {
    fn holds<N: SumNumber>(self, value: N, threshold: f32, missing: bool) -> bool {
        let (value, threshold) = (value.wide(), f64::from(threshold));
        let holds = match self {
            BranchMode::LessOrEqual => value <= threshold,
            BranchMode::Less => value < threshold,
            BranchMode::GreaterOrEqual => value >= threshold,
            BranchMode::Greater => value > threshold,
            BranchMode::Equal => value == threshold,
            BranchMode::NotEqual => value != threshold,
        };
        holds || (missing && value.is_nan())
    }
}

fn logistic(value: f32) -> f32 {
    // Of the side that does not overflow.
    let part = 1.0 / (1.0 + (-value.abs()).exp());
    if value < 0.0 { 1.0 - part } else { part }
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The step at which each tree begins: the one to which none leads. Each of the others is led to once, so that
/// every way from there comes to an end.
fn roots(steps: &[TreeStep], ids: &NodeIds, attributes: &NodeAttributes<'_>) -> Result<Vec<usize>> {
    let no_tree = || attributes.unsupported("has trees that are none");
    let mut led = vec![false; steps.len()];
    for step in steps {
        let TreeStep::Branch { yes, no, .. } = step else { continue };
        for next in [yes, no] {
            if std::mem::replace(led.get_mut(*next).ok_or_else(no_tree)?, true) {
                return Err(no_tree());
            }
        }
    }
    let mut trees: Vec<i64> = Vec::new();
    let mut roots = Vec::new();
    for (at, tree) in ids.trees.iter().enumerate().filter(|(at, _)| !led[*at]) {
        trees.push(*tree);
        roots.push(at);
    }
    trees.sort_unstable();
    let count = trees.len();
    trees.dedup();
    let all: std::collections::HashSet<i64> = ids.trees.iter().copied().collect();
    // Circles are led to from within, and from no root.
    let (mut reached, mut next) = (0, roots.clone());
    while let Some(at) = next.pop() {
        reached += 1;
        if let Some(TreeStep::Branch { yes, no, .. }) = steps.get(at) {
            next.extend([*yes, *no]);
        }
    }
    let whole = trees.len() == count && count == all.len() && reached == steps.len();
    whole.then_some(roots).ok_or_else(no_tree)
}

/// Where each step of the file lies: by its tree and its number in it.
struct NodeIds {
    places: HashMap<(i64, i64), usize>,
    trees: Vec<i64>,
}

struct NodeAttributes<'a>(&'a pb::NodeProto);

impl<'a> NodeAttributes<'a> {
    fn unsupported(&self, why: &str) -> Error {
        Error::unsupported(format!("{} '{}' {why}", self.0.op_type, self.0.name))
    }

    fn find(&self, name: &str) -> Option<&'a pb::AttributeProto> {
        self.0.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn ints(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |attribute| &attribute.ints)
    }

    fn floats(&self, name: &str) -> &'a [f32] {
        self.find(name).map_or(&[], |attribute| &attribute.floats)
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |attribute| attribute.i)
    }

    fn text(&self, name: &str, default: &'static str) -> &'a str {
        self.find(name).map_or(default, |attribute| std::str::from_utf8(&attribute.s).unwrap_or_default())
    }

    fn labels(&self) -> usize {
        let strings = self.find("classlabels_strings").map_or(0, |attribute| attribute.strings.len());
        strings.max(self.ints("classlabels_int64s").len())
    }

    fn steps(&self) -> Result<(Vec<TreeStep>, NodeIds)> {
        let (trees, nodes) = (self.ints("nodes_treeids"), self.ints("nodes_nodeids"));
        let (columns, values) = (self.ints("nodes_featureids"), self.floats("nodes_values"));
        let (yes, no) = (self.ints("nodes_truenodeids"), self.ints("nodes_falsenodeids"));
        let missing = self.ints("nodes_missing_value_tracks_true");
        let modes = self.find("nodes_modes").map_or(&[][..], |attribute| &attribute.strings);
        let count = trees.len();
        let lengths = [nodes.len(), columns.len(), values.len(), yes.len(), no.len(), modes.len()];
        if count == 0 || lengths.iter().any(|length| *length != count) || ![0, count].contains(&missing.len())
        {
            return Err(self.unsupported("has lists of different lengths, or numbers of 64 bits"));
        }
        let named: Vec<(i64, i64)> = trees.iter().copied().zip(nodes.iter().copied()).collect();
        let places: HashMap<_, _> = named.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        if places.len() != count {
            return Err(self.unsupported("has two nodes of one number"));
        }
        let find = |tree: i64, node: i64| {
            places
                .get(&(tree, node))
                .copied()
                .ok_or_else(|| self.unsupported("leads to a node that is not there"))
        };
        let mut steps = Vec::with_capacity(count);
        for at in 0..count {
            let mode = match modes[at].as_slice() {
                b"LEAF" => {
                    steps.push(TreeStep::Leaf(0..0));
                    continue;
                }
                b"BRANCH_LEQ" => BranchMode::LessOrEqual,
                b"BRANCH_LT" => BranchMode::Less,
                b"BRANCH_GTE" => BranchMode::GreaterOrEqual,
                b"BRANCH_GT" => BranchMode::Greater,
                b"BRANCH_EQ" => BranchMode::Equal,
                b"BRANCH_NEQ" => BranchMode::NotEqual,
                _ => return Err(self.unsupported("compares in a way that is not known")),
            };
            let column = usize::try_from(columns[at]).ok().filter(|column| *column < usize::MAX);
            steps.push(TreeStep::Branch {
                column: column.ok_or_else(|| self.unsupported("looks at a column below zero"))?,
                mode,
                threshold: values[at],
                missing: missing.get(at).is_some_and(|missing| *missing != 0),
                yes: find(trees[at], yes[at])?,
                no: find(trees[at], no[at])?,
            });
        }
        Ok((steps, NodeIds { places, trees: trees.to_vec() }))
    }

    /// What leaves give, of one leaf after another, which they are told.
    fn leaves(
        &self,
        prefix: &str,
        scores: usize,
        steps: &mut [TreeStep],
        ids: &NodeIds,
    ) -> Result<Vec<(usize, f32)>> {
        let list = |name: &str| self.ints(&format!("{prefix}_{name}"));
        let (trees, nodes, targets) = (list("treeids"), list("nodeids"), list("ids"));
        let weights = self.floats(&format!("{prefix}_weights"));
        if [trees.len(), nodes.len(), targets.len()].iter().any(|length| *length != weights.len()) {
            return Err(self.unsupported("has leaves of different lengths, or numbers of 64 bits"));
        }
        let mut given = Vec::with_capacity(weights.len());
        for (at, weight) in weights.iter().enumerate() {
            let place = ids.places.get(&(trees[at], nodes[at])).copied();
            let place =
                place.ok_or_else(|| self.unsupported("gives something for a node that is not there"))?;
            let score = usize::try_from(targets[at]).ok().filter(|score| *score < scores);
            given.push((
                place,
                score.ok_or_else(|| self.unsupported("gives something to no score"))?,
                *weight,
            ));
        }
        // Those of a leaf together, in the order of the file.
        given.sort_by_key(|(place, _, _)| *place);
        for (at, (place, _, _)) in given.iter().enumerate() {
            let Some(TreeStep::Leaf(range)) = steps.get_mut(*place) else {
                return Err(self.unsupported("gives something before a leaf"));
            };
            let start = if range.start == range.end { at } else { range.start };
            *range = start..at + 1;
        }
        Ok(given.into_iter().map(|(_, score, weight)| (score, weight)).collect())
    }

    fn outcome(
        &self,
        is_classifier: bool,
        scores: usize,
        gives: &[(usize, f32)],
        base: &[f32],
    ) -> Result<SumOutcome> {
        let transform = self.text("post_transform", "NONE");
        if !is_classifier {
            let fits = transform == "NONE" && (base.is_empty() || base.len() == scores);
            return match self.text("aggregate_function", "SUM") {
                "SUM" if fits => Ok(SumOutcome::Sum),
                "AVERAGE" if fits && base.is_empty() => Ok(SumOutcome::Average),
                _ => Err(self.unsupported("ends in a way that is not computed here")),
            };
        }
        let one_score = gives.first().is_some_and(|(first, _)| gives.iter().all(|(score, _)| score == first));
        match transform {
            "NONE" | "LOGISTIC" if scores == 2 && one_score && base.len() <= 1 => Ok(SumOutcome::Binary {
                are_shares: gives.iter().all(|(_, weight)| *weight >= 0.0),
                is_logistic: transform == "LOGISTIC",
            }),
            _ if scores == 2 || !(base.is_empty() || base.len() == scores) => {
                Err(self.unsupported("has scores for both of two classes"))
            }
            "NONE" => Ok(SumOutcome::Classes(PostTransform::None)),
            "LOGISTIC" => Ok(SumOutcome::Classes(PostTransform::Logistic)),
            "SOFTMAX" => Ok(SumOutcome::Classes(PostTransform::Softmax)),
            _ => Err(self.unsupported("ends in a way that is not computed here")),
        }
    }
}
