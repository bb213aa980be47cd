//! Operators that tract has not, or has wrong; and which it has.

use std::path::Path;
use std::sync::Arc;

use eyot_core::{Error, Result};
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::{Onnx, tract_core};

use super::trees::{SumNumber, TreeEnsemble};
use crate::onnx::element_codes::{FLOAT_CODE, INT64_CODE};

/// tract, with our own operators in place of some of its.
pub(super) fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.provider = Arc::new(NoFiles);
    for op in ["TreeEnsembleClassifier", "TreeEnsembleRegressor"] {
        onnx.op_register.insert(op, trees);
    }
    onnx
}

/// No file is opened for a model: what it takes from others was put inside before.
struct NoFiles;

impl ModelDataResolver for NoFiles {
    fn read_bytes_from_path(
        &self,
        _: &mut Vec<u8>,
        path: &Path,
        _: usize,
        _: Option<usize>,
    ) -> TractResult<()> {
        bail!("a tensor lies in another file, '{}'", path.display())
    }
}

/// How many operators a message names.
const MAX_SHOWN_NAMES: usize = 5;

/// Fails with the names of operators that tract has not. It looks them up by name alone: of another domain it
/// would compute something else.
pub(super) fn check(proto: &pb::ModelProto, known: &OnnxOpRegister) -> Result<()> {
    let mut missing: Vec<String> = Vec::new();
    let graphs = proto.graph.iter();
    graphs.for_each(|graph| look(graph, known, &mut missing));
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let more = missing.len().saturating_sub(MAX_SHOWN_NAMES);
    missing.truncate(MAX_SHOWN_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = missing.join(", ");
    Err(Error::unsupported(format!("the built-in back end tract has no operator {names}{more}"))
        .hint(ELSEWHERE))
}

pub(super) const ELSEWHERE: &str = "eyot backend install onnxruntime";

fn look(graph: &pb::GraphProto, known: &OnnxOpRegister, missing: &mut Vec<String>) {
    for node in &graph.node {
        let domain = matches!(node.domain.as_str(), "" | "ai.onnx" | "ai.onnx.ml" | "com.microsoft");
        if !domain || !known.0.contains_key(&node.op_type) {
            let shown = |text: &str| text.chars().take(80).collect::<String>();
            let domain =
                if node.domain.is_empty() { String::new() } else { format!("{}:", shown(&node.domain)) };
            missing.push(format!("{domain}{}", shown(&node.op_type)));
        }
        let inner = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
        inner.for_each(|graph| look(graph, known, missing));
    }
}

/// What picks columns gives as many axes as it takes, and two at least; tract takes an axis away for a single place.
pub(super) fn keep_axes(proto: &mut pb::ModelProto) {
    let Some(graph) = &mut proto.graph else { return };
    let lists = |tensor: &pb::TensorProto| tensor.dims.len() == 1;
    let flat: Vec<String> =
        graph.initializer.iter().filter(|tensor| lists(tensor)).map(|tensor| tensor.name.clone()).collect();
    let mut nodes = Vec::with_capacity(graph.node.len());
    for (at, mut node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        if node.op_type == "ArrayFeatureExtractor" && node.input.len() == 2 {
            let is_flat = flat.contains(&node.input[0]);
            let mut shape = |place: usize, sizes: &[i64]| {
                let (shape, shaped) =
                    (format!("eyot-shape-{at}-{place}"), format!("eyot-shaped-{at}-{place}"));
                graph.initializer.push(pb::TensorProto {
                    name: shape.clone(),
                    dims: vec![sizes.len() as i64],
                    data_type: INT64_CODE,
                    int64_data: sizes.to_vec(),
                    ..pb::TensorProto::default()
                });
                nodes.push(pb::NodeProto {
                    input: vec![std::mem::replace(&mut node.input[place], shaped.clone()), shape],
                    output: vec![shaped.clone()],
                    name: shaped,
                    op_type: "Reshape".to_owned(),
                    ..pb::NodeProto::default()
                });
            };
            shape(1, &[-1]);
            if is_flat {
                shape(0, &[1, -1]);
            }
        }
        nodes.push(node);
    }
    graph.node = nodes;
}

/// What is made of a shape is of single precision where nobody says otherwise; tract makes it of double.
pub(super) fn zeros_of_shape(proto: &mut pb::ModelProto) {
    proto.graph.iter_mut().for_each(zeros);
}

fn zeros(graph: &mut pb::GraphProto) {
    for node in &mut graph.node {
        let says = node.attribute.iter().any(|attribute| attribute.name == "value");
        if node.op_type == "ConstantOfShape" && !says {
            let zero = pb::TensorProto {
                dims: vec![1],
                data_type: FLOAT_CODE,
                float_data: vec![0.0],
                ..pb::TensorProto::default()
            };
            node.attribute.push(pb::AttributeProto {
                name: "value".to_owned(),
                t: Some(zero),
                r#type: pb::attribute_proto::AttributeType::Tensor as i32,
                ..pb::AttributeProto::default()
            });
        }
        let inner = node
            .attribute
            .iter_mut()
            .flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs));
        inner.for_each(zeros);
    }
}

fn trees(_: &ParsingContext<'_>, node: &pb::NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let ensemble = TreeEnsemble::new(node).map_err(|error| format_err!("{error}"))?;
    let attribute = |name: &str| node.attribute.iter().find(|attribute| attribute.name == name);
    let numbers = attribute("classlabels_int64s").map(|attribute| attribute.ints.clone()).unwrap_or_default();
    let texts =
        attribute("classlabels_strings").map(|attribute| attribute.strings.as_slice()).unwrap_or_default();
    let texts: Vec<String> = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let labels = match (node.op_type.as_str(), texts.is_empty()) {
        ("TreeEnsembleRegressor", _) => ClassLabels::None,
        (_, true) => ClassLabels::Numbers(numbers),
        (_, false) => ClassLabels::Texts(texts),
    };
    Ok((expand(TreeOperator(Arc::new(OperatorState { ensemble, labels }))), Vec::new()))
}

/// The operator: labels and scores of a classifier, scores of a regressor.
#[derive(Clone, Debug, PartialEq)]
struct TreeOperator(Arc<OperatorState>);

impl Eq for TreeOperator {}

#[derive(Debug, PartialEq)]
struct OperatorState {
    ensemble: TreeEnsemble,
    labels: ClassLabels,
}

#[derive(Debug, PartialEq)]
enum ClassLabels {
    None,
    Numbers(Vec<i64>),
    Texts(Vec<String>),
}

impl ClassLabels {
    fn datum_type(&self) -> Option<DatumType> {
        match self {
            ClassLabels::None => None,
            ClassLabels::Numbers(_) => Some(DatumType::I64),
            ClassLabels::Texts(_) => Some(DatumType::String),
        }
    }
}

impl Expansion for TreeOperator {
    fn name(&self) -> StaticName {
        "TreeEnsemble".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, self.nboutputs()?)?;
        solver.equals(&inputs[0].rank, 2)?;
        if let Some(datum_type) = self.0.labels.datum_type() {
            solver.equals(&outputs[0].datum_type, datum_type)?;
            solver.equals(&outputs[0].rank, 1)?;
            solver.equals(&outputs[0].shape[0], &inputs[0].shape[0])?;
        }
        let scores = &outputs[outputs.len() - 1];
        solver.equals(&scores.datum_type, DatumType::F32)?;
        solver.equals(&scores.rank, 2)?;
        solver.equals(&scores.shape[0], &inputs[0].shape[0])?;
        solver.equals(&scores.shape[1], self.0.ensemble.scores().to_dim())
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(if self.0.labels == ClassLabels::None { 1 } else { 2 })
    }
}

impl Op for TreeOperator {
    fn name(&self) -> StaticName {
        "TreeEnsemble".into()
    }

    tract_core::op_as_typed_op!();
}

impl EvalOp for TreeOperator {
    tract_core::op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = inputs.first().context("trees without an input")?;
        let &[rows, columns] = input.shape() else { bail!("trees take rows and columns") };
        let needed = self.0.ensemble.columns;
        if columns < needed {
            bail!("its trees look at {needed} columns, and there are {columns}");
        }
        if input.datum_type() == DatumType::F64 {
            let values = input.to_plain_array_view::<f64>()?;
            return self.run(values.as_slice().context("values that do not lie in order")?, rows, columns);
        }
        let input = input.cast_to::<f32>()?;
        let values = input.to_plain_array_view::<f32>()?;
        self.run(values.as_slice().context("values that do not lie in order")?, rows, columns)
    }
}

impl TreeOperator {
    fn run<N: SumNumber>(&self, values: &[N], rows: usize, columns: usize) -> TractResult<TVec<TValue>> {
        let ensemble = &self.0.ensemble;
        let mut scores = vec![0_f32; rows * ensemble.scores()];
        let mut found = Vec::with_capacity(rows);
        for (at, scores) in scores.chunks_mut(ensemble.scores()).enumerate() {
            found.push(ensemble.row(&values[at * columns..][..columns], scores));
        }
        let scores = tract_ndarray::Array2::from_shape_vec((rows, ensemble.scores()), scores)?.into_tensor();
        let labels = match &self.0.labels {
            ClassLabels::None => return Ok(tvec!(scores.into_tvalue())),
            ClassLabels::Numbers(labels) => {
                tensor1(&found.iter().map(|at| labels[*at]).collect::<Vec<i64>>())
            }
            ClassLabels::Texts(labels) => {
                tensor1(&found.iter().map(|at| labels[*at].clone()).collect::<Vec<String>>())
            }
        };
        Ok(tvec!(labels.into_tvalue(), scores.into_tvalue()))
    }
}

impl TypedOp for TreeOperator {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let rows = inputs[0].shape[0].clone();
        let scores = f32::fact([rows.clone(), self.0.ensemble.scores().to_dim()]);
        Ok(match self.0.labels.datum_type() {
            None => tvec!(scores),
            Some(datum_type) => tvec!(datum_type.fact([rows]), scores),
        })
    }

    tract_core::as_op!();
}
