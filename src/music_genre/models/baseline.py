"""The classical baseline: a support-vector machine with an RBF kernel on statistics of mel bands or of MFCCs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from music_genre.errors import MusicGenreError
from music_genre.models.params import ModelParams
from music_genre.models.registry import Classifier

if TYPE_CHECKING:
    from onnx import ModelProto
    from sklearn.pipeline import Pipeline

OPSETS = {"": 17, "ai.onnx.ml": 3}  # of ONNX: every runtime of the last three years reads them
N_MFCC = 20  # as in the features that come with FMA


class BaselineParams(ModelParams):
    """The section ``models.baseline``.

    Args:
        input: ``spectrograms``.
        features: statistics of mel bands or of MFCCs.
        C: the SVM's penalty.
        gamma: width of its kernel, as scikit-learn defines it.
    """

    input: Literal["spectrograms"]
    features: Literal["mel_statistics", "mfcc_statistics"]
    C: Annotated[float, Field(gt=0)]
    gamma: Literal["scale", "auto"] | Annotated[float, Field(gt=0)]


def mfcc(mel: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients: (n, frames, n_mels) dB to (n, frames, ``N_MFCC``), by an orthonormal DCT-II
    over the bands of each frame.
    """
    from scipy.fft import dct

    return np.asarray(dct(mel, axis=2, norm="ortho")[:, :, :N_MFCC])


def clip_statistics(x: np.ndarray) -> np.ndarray:
    """Four statistics over time of each band or coefficient: mean, standard deviation, mean absolute change from frame
    to frame, maximum. (n, frames, d) to (n, 4 * d) float32.
    """
    change = np.abs(np.diff(x, axis=1)).mean(axis=1)
    return np.concatenate([x.mean(axis=1), x.std(axis=1), change, x.max(axis=1)], axis=1).astype(np.float32)


def extract(mel: np.ndarray, params: BaselineParams) -> np.ndarray:
    """The features of clips: (n, frames, n_mels) dB to (n, 4 * bands or coefficients) float32."""
    return clip_statistics(mfcc(mel) if params.features == "mfcc_statistics" else mel)


def fit(features: np.ndarray, labels: np.ndarray, params: BaselineParams) -> Pipeline:
    """Train on features (n, d) and labels (n,) int64; the result has ``predict_proba``.

    Scores become probabilities by one temperature, fitted on predictions for held-out folds of the training clips.

    Raises:
        MusicGenreError: a genre has a single clip, so that no fold can be held out.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    n_folds = int(min(5, np.bincount(labels).min()))
    if n_folds < 2:
        raise MusicGenreError("a genre has a single training clip; the baseline needs at least two of each genre")
    svc = SVC(C=params.C, gamma=params.gamma)
    calibrated = CalibratedClassifierCV(svc, method="temperature", cv=n_folds, ensemble=False)
    return Pipeline([("scaler", StandardScaler()), ("svc", calibrated)]).fit(features, labels)


def to_onnx(classifier: Pipeline) -> ModelProto:
    """What ``fit`` made as a network in ONNX, from (n, d) features to (n, classes) probabilities, both float32."""
    import onnx
    from onnx import helper, numpy_helper
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.pipeline import Pipeline

    scaler, calibrated = classifier["scaler"], classifier["svc"].calibrated_classifiers_[0]
    scores = Pipeline([("scaler", scaler), ("svc", calibrated.estimator)])
    features = [("features", FloatTensorType([None, scaler.n_features_in_]))]
    options = {id(step): {"raw_scores": True, "zipmap": False} for step in (scores, calibrated.estimator)}
    network: ModelProto = convert(scores, initial_types=features, options=options, target_opset=OPSETS)
    # It converts no calibration by temperature, so that follows here.
    raw, beta = network.graph.output[1].name, np.float32(calibrated.calibrators[0].beta_)
    network.graph.initializer.append(numpy_helper.from_array(np.array(beta), "beta"))
    network.graph.node.extend(
        [helper.make_node("Mul", [raw, "beta"], ["logits"]), helper.make_node("Softmax", ["logits"], ["p"], axis=1)]
    )
    shape: list[str | int | None] = ["clips", len(calibrated.classes)]
    del network.graph.output[:]
    network.graph.output.append(helper.make_tensor_value_info("p", onnx.TensorProto.FLOAT, shape))
    return network


def count_parameters(classifier: Pipeline) -> int:
    """Fitted numbers: support vectors, their coefficients and the intercepts."""
    svc = classifier["svc"].calibrated_classifiers_[0].estimator
    return int(svc.support_vectors_.size + svc.dual_coef_.size + svc.intercept_.size)


MODEL = Classifier(
    BaselineParams,
    extract,
    fit,
    count_parameters,
    ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._TemperatureScaling"),
    to_onnx,
)
