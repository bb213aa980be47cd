"""Writes models as people export them, to compare back ends on: scikit-learn, XGBoost and LightGBM.

Usage: estimators.py FOLDER; writes NAME.onnx and NAME.json, what to ask it, for each. What a converter does not
convert is left out, and said.
"""

import json
import sys
import warnings

import numpy as np
from onnx import TensorProto
from skl2onnx import convert_sklearn, to_onnx, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
from sklearn import calibration, compose, datasets, decomposition, discriminant_analysis, ensemble, feature_selection, gaussian_process, impute, linear_model, naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree

warnings.filterwarnings("ignore")
FOLDER = sys.argv[1]
OPSET = {"": 17, "ai.onnx.ml": 3}
TYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "object": "BYTES"}
left_out = []


def write(name, model, inputs):
    with open(f"{FOLDER}/{name}.onnx", "wb") as file:
        file.write(model.SerializeToString())
    told = []
    for key, array in inputs.items():
        cell = lambda value: None if isinstance(value, float) and np.isnan(value) else value
        data = [cell(value) for value in array.ravel().tolist()]
        told.append({"name": key, "datatype": TYPES[str(array.dtype)], "shape": list(array.shape), "data": data})
    with open(f"{FOLDER}/{name}.json", "w") as file:
        json.dump(told, file)


def export(name, model, x, y, dtype="float32", options=None):
    x = x.astype(dtype)
    half = len(x) // 2
    try:
        model.fit(x[:half], y[:half])
        options = options if options is not None else ({id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None)
        write(name, to_onnx(model, x[:1], options=options, target_opset=OPSET), {"X": x[half : half + 60]})
    except Exception as error:  # noqa: BLE001 - whatever a converter says
        left_out.append(f"{name}: {type(error).__name__} {str(error)[:100]}")


def shuffled(x, y):
    order = np.random.default_rng(7).permutation(len(x))
    return np.asarray(x)[order][:300], np.asarray(y)[order][:300]


seed = {"random_state": 7}
few = {"n_estimators": 10, "max_depth": 4, **seed}
classifiers = {
    "forest": lambda: ensemble.RandomForestClassifier(**few),
    "forest-of-votes": lambda: ensemble.RandomForestClassifier(n_estimators=8, **seed),
    "extra-trees": lambda: ensemble.ExtraTreesClassifier(**few),
    "tree": lambda: tree.DecisionTreeClassifier(max_depth=5, **seed),
    "boosted": lambda: ensemble.GradientBoostingClassifier(n_estimators=10, **seed),
    "boosted-histograms": lambda: ensemble.HistGradientBoostingClassifier(max_iter=10, **seed),
    "adaboost": lambda: ensemble.AdaBoostClassifier(n_estimators=5, **seed),
    "bagged": lambda: ensemble.BaggingClassifier(n_estimators=4, **seed),
    "logistic": lambda: linear_model.LogisticRegression(max_iter=200),
    "descent": lambda: linear_model.SGDClassifier(loss="log_loss", **seed),
    "linear-machine": lambda: svm.LinearSVC(**seed),
    "machine": lambda: svm.SVC(probability=True, **seed),
    "neighbours": lambda: neighbors.KNeighborsClassifier(3),
    "bayes": lambda: naive_bayes.GaussianNB(),
    "bernoulli": lambda: naive_bayes.BernoulliNB(binarize=1.0),
    "network": lambda: neural_network.MLPClassifier((16,), max_iter=50, **seed),
    "discriminant": lambda: discriminant_analysis.LinearDiscriminantAnalysis(),
    "votes": lambda: ensemble.VotingClassifier([("a", tree.DecisionTreeClassifier(max_depth=3)), ("b", naive_bayes.GaussianNB())], voting="soft", flatten_transform=False),
    "calibrated": lambda: calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2),
    "scaled-forest": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), ensemble.RandomForestClassifier(**few)),
    "scaled-logistic": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()),
    "components-machine": lambda: pipeline.make_pipeline(decomposition.PCA(3), svm.SVC(**seed)),
    "normalized-network": lambda: pipeline.make_pipeline(preprocessing.Normalizer(), neural_network.MLPClassifier((8,), max_iter=50, **seed)),
    "chosen-boosted": lambda: pipeline.make_pipeline(feature_selection.SelectKBest(k=3), ensemble.GradientBoostingClassifier(n_estimators=5, **seed)),
}
regressors = {
    "forest": lambda: ensemble.RandomForestRegressor(**few),
    "extra-trees": lambda: ensemble.ExtraTreesRegressor(**few),
    "tree": lambda: tree.DecisionTreeRegressor(max_depth=5, **seed),
    "boosted": lambda: ensemble.GradientBoostingRegressor(n_estimators=10, **seed),
    "boosted-histograms": lambda: ensemble.HistGradientBoostingRegressor(max_iter=10, **seed),
    "linear": lambda: linear_model.LinearRegression(),
    "ridge": lambda: linear_model.Ridge(),
    "lasso": lambda: linear_model.Lasso(0.1),
    "machine": lambda: svm.SVR(),
    "neighbours": lambda: neighbors.KNeighborsRegressor(3),
    "network": lambda: neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=50, **seed),
    "process": lambda: gaussian_process.GaussianProcessRegressor(alpha=0.1),
    "polynomial": lambda: pipeline.make_pipeline(preprocessing.PolynomialFeatures(2), linear_model.Ridge()),
    "robust": lambda: pipeline.make_pipeline(preprocessing.RobustScaler(), preprocessing.MinMaxScaler(), linear_model.Ridge()),
}
two = shuffled(*datasets.load_breast_cancer(return_X_y=True))
three = shuffled(*datasets.load_iris(return_X_y=True))
names = shuffled(datasets.load_iris().data, np.array(["setosa", "versicolor", "virginica"])[datasets.load_iris().target])
numbers = shuffled(*datasets.load_diabetes(return_X_y=True))
for name, make in classifiers.items():
    export(f"two-{name}", make(), *two)
    export(f"three-{name}", make(), *three)
for name, make in regressors.items():
    export(f"number-{name}", make(), *numbers)
for name in ("forest", "tree", "logistic"):
    export(f"named-{name}", classifiers[name](), *names)
    export(f"double-{name}", classifiers[name](), *two, dtype="float64")
export("two-targets", ensemble.RandomForestRegressor(**few), numbers[0], np.stack([numbers[1], -numbers[1]], 1))

# As exporters do by default: with a list of maps.
for name in ("forest", "logistic"):
    export(f"mapped-{name}", classifiers[name](), *two, options={})
export("mapped-names", classifiers["forest"](), *names, options={})

# With holes in it.
holes = two[0].copy()
holes[np.random.default_rng(1).random(holes.shape) < 0.1] = np.nan
export("holes-histograms", classifiers["boosted-histograms"](), holes, two[1])
export("holes-filled", pipeline.make_pipeline(impute.SimpleImputer(), ensemble.RandomForestClassifier(**few)), holes, two[1])

# Columns of texts beside numbers.
random = np.random.default_rng(3)
colours = random.choice(["red", "green", "blue"], (300, 1)).astype(object)
amounts = random.normal(size=(300, 2)).astype("float32")
wanted = ((colours[:, 0] == "red") | (amounts[:, 0] > 1)).astype("int64")
for name, last in [("forest", ensemble.RandomForestClassifier(**few)), ("logistic", linear_model.LogisticRegression())]:
    for how, encoder in [("one-hot", preprocessing.OneHotEncoder(handle_unknown="ignore")), ("ordinal", preprocessing.OrdinalEncoder())]:
        columns = compose.ColumnTransformer([("colour", encoder, [0]), ("amounts", preprocessing.StandardScaler(), [1, 2])])
        model = pipeline.make_pipeline(columns, last)
        try:
            table = np.concatenate([colours, amounts.astype(object)], 1)
            model.fit(table[:200], wanted[:200])
            kinds = [("colour", StringTensorType([None, 1])), ("amounts", FloatTensorType([None, 2]))]
            onnx = convert_sklearn(model, initial_types=kinds, target_opset=OPSET, options={id(last): {"zipmap": False}})
            write(f"texts-{how}-{name}", onnx, {"colour": colours[200:260], "amounts": amounts[200:260]})
        except Exception as error:  # noqa: BLE001
            left_out.append(f"texts-{how}-{name}: {error!r:.150}")


def boosted():
    import lightgbm
    import xgboost
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    classes, numbers_of = calculate_linear_classifier_output_shapes, calculate_linear_regressor_output_shapes
    update_registered_converter(lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", classes, convert_lightgbm, options=options)
    update_registered_converter(lightgbm.LGBMRegressor, "LightGbmLGBMRegressor", numbers_of, convert_lightgbm, options={"split": None})
    update_registered_converter(xgboost.XGBClassifier, "XGBoostXGBClassifier", classes, convert_xgboost, options=options)
    update_registered_converter(xgboost.XGBRegressor, "XGBoostXGBRegressor", numbers_of, convert_xgboost)
    small = {"n_estimators": 10, "random_state": 7, "n_jobs": 1}
    for name, (x, y) in (("two", two), ("three", three), ("holes", (holes, two[1]))):
        export(f"{name}-lightgbm", lightgbm.LGBMClassifier(verbose=-1, min_child_samples=5, **small), x, y)
        export(f"{name}-xgboost", xgboost.XGBClassifier(max_depth=3, **small), x, y)
    export("number-lightgbm", lightgbm.LGBMRegressor(verbose=-1, **small), *numbers)
    export("number-xgboost", xgboost.XGBRegressor(max_depth=3, **small), *numbers)


try:
    boosted()
except ImportError as error:
    left_out.append(f"boosted: {error}")
print("\n".join(left_out))
